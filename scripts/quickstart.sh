#!/usr/bin/env bash
# From a fresh clone to a table of what a SASRec and a small language model gained from each other on MovieLens-100K.
# What is there already (environment, prepared data, finished runs) is skipped.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set_up

hybridrec="$VENV/bin/hybridrec"
run=runs/quickstart/both/seed-1
"$hybridrec" prepare ml-100k
"$hybridrec" compare preset=quickstart
for format in safetensors recbole; do
  "$hybridrec" export "$run" --format "$format"
done
