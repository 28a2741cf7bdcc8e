# Every mutant that mutmut makes of the modules in pyproject.toml's tool.mutmut, then the table of docs/mutants.md.
# Started again, it continues where it stopped. mutmut finds packages only in "." and "src", so it runs in a copy.
# Arguments select mutants, for instance "models.attention*".
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
mkdir -p .mutants/src
cp -pRu ablations models tests workflow pyproject.toml .mutants/
cp -pRu workflow/vsrbench .mutants/src/
rm -rf .mutants/workflow/vsrbench
cd .mutants
PATH=$root/.venv/bin:$PATH
nice mutmut run "$@"
python "$root/tests/mutants/print_table.py" mutants
