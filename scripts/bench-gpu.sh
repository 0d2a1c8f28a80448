#!/bin/sh
# The tests and benchmarks of the science on a GPU, each within a bound of time; their output also goes into files of
# the folder $1. Torch, torchvision, numpy, rich, psutil and pytest are enough; zennit and captum are compared with
# where they are installed.   scripts/bench-gpu.sh FOLDER [tests vgg16 resnet50 training soak whole]
# For less of it: PRECISIONS="float32 bf16" of the maps, SIZES=32 of the groups of classes.
folder=${1:?the folder for what is found}
shift
python=${PYTHON:-python3}
mkdir -p "$folder"
failed=0

step() { # name, seconds at most, command
    name=$1 most=$2
    shift 2
    begun=$(date +%s)
    timeout "$most" "$@" >"$folder/$name.txt" 2>"$folder/$name.err"
    code=$?
    echo "== $name: exit $code after $(($(date +%s) - begun)) s"
    cat "$folder/$name.txt"
    [ $code -eq 0 ] && return
    failed=1
    tail -n 15 "$folder/$name.err"
}

for part in ${*:-tests vgg16 resnet50 training soak whole}; do
    case $part in
    tests) step tests 120 "$python" -m pytest --noconftest -q -p no:cacheprovider tests/science/test_on_gpu.py ;;
    vgg16 | resnet50)
        for precision in ${PRECISIONS:-float32 tf32 bf16}; do
            step "$part-$precision" 100 "$python" -m tests.bench.excitation --network "$part" --precision $precision
        done
        ;;
    training) step training 240 "$python" -m tests.bench.training --sample 32 --alone 2 --groups ${SIZES:-8 16 32} ;;
    soak)
        step soak 100 "$python" -m tests.bench.soak
        step soak-vgg16 100 "$python" -m tests.bench.soak --network vgg16 --batch 128
        ;;
    whole) step whole 500 "$python" -m tests.bench.training --whole ;;
    *) echo "no such part: $part" >&2 && exit 2 ;;
    esac
done
exit $failed
