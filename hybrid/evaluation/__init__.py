"""Full-catalogue ranking of either side; the only place that can open the test part."""
