"""Many runs side by side: arms, seeds, ablations and controls, with what is chance and what is not."""
