#!/bin/sh
# Run one study on this machine: STUDY=demo CORES=2 workflow/run_study.sh [more arguments for snakemake]
# STUDY=claims runs those that workflow/config/claims.yaml lists, one after another, and writes the verdicts.
# A `snakemake` typed by hand takes the same lock (vsrbench.orchestration.study_lock). The kernel drops it with the process, so a
# killed run is taken over at once, but for trainings that outlived it, which have locks of their own and are waited
# for; Snakemake's lock would need --unlock after a kill.
set -eu
cd "$(dirname "$0")/.."
case $STUDY in
    "" | *[!a-z0-9_-]* | [_-]*)
        echo "study: STUDY=$STUDY is not the name of a study; expected a file of workflow/config/, without .yaml" >&2; exit 2 ;;
esac
if [ "$STUDY" = claims ]; then
    for study in $(.venv/bin/vsrbench claims --list); do STUDY=$study sh workflow/run_study.sh "$@"; done
    exec .venv/bin/vsrbench claims
fi
config="workflow/config/$STUDY.yaml"
[ -f "$config" ] || { echo "study: $config is missing; there are: $(cd workflow/config && echo *.yaml)" >&2; exit 2; }
mkdir -p "results/$STUDY" 2>/dev/null && [ -w "results/$STUDY" ] ||
    { echo "study: results/$STUDY cannot be written; make it writable or clone elsewhere" >&2; exit 2; }
lock="results/$STUDY/.lock"
status=0; flock --nonblock "$lock" true || status=$?
case $status in
    0) ;;
    1) echo "study: waiting for another run of $STUDY to end ..." ;;
    *) echo "study: $lock cannot be locked; clone to a disk that has file locks" >&2; exit 2 ;;
esac
export VSRBENCH_STUDY_LOCK=held
flock "$lock" .venv/bin/vsrbench repair "results/$STUDY" --config "$config" --cores "${CORES:-2}"
flock "$lock" .venv/bin/snakemake --cores "${CORES:-2}" --configfile "$config" --nolock --rerun-incomplete --quiet rules host "$@"
page="results/$STUDY/report.html"
[ ! -f "$page" ] || echo "The report: file://$(echo "$PWD" | sed 's/ /%20/g')/$page"
