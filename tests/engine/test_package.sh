#!/bin/sh
# Installs libvtr into a folder of its own, builds the example against the CMake package and a program against
# pkg-config, and holds a conversation with the service.
#
#     test_package.sh BUILD_FOLDER
#
# Leaves 77 where a tool that it needs is missing.
set -eu

build=$(cd "$1" && pwd)
source=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
service=
finish() {
    [ -z "$service" ] || kill "$service" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
for tool in pkg-config python3 readelf; do
    command -v $tool >/dev/null || {
        echo "skipped: there is no $tool"
        exit 77
    }
done
fail() {
    echo "test_package: $*" >&2
    exit 1
}

cmake --install "$build" --prefix "$work/prefix" --component libvtr >/dev/null
library=$(find "$work/prefix" -name libvtr.so)
[ -n "$library" ] || fail "libvtr.so is not installed"
mv "$work/prefix" "$work/moved" # an installed tree can be moved
library="$work/moved${library#"$work/prefix"}"
folder=$(dirname "$library")

# Nothing but vtr_* is shown, and nothing but the C and C++ libraries is needed.
shown=$(nm -D --defined-only "$library" | awk '{print $3}' | grep -v '^vtr_' || true)
[ -z "$shown" ] || fail "libvtr.so shows $shown"
declared=$(grep -o 'vtr_[a-z_]*(' "$work/moved/include/vtr/vtr.h" | tr -d '(' | sort -u)
for name in $declared; do
    nm -D --defined-only "$library" | grep -q " $name\$" || fail "libvtr.so has no $name"
done
needed=$(readelf -d "$library" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p')
for name in $needed; do
    case $name in
        libc.so.* | libm.so.* | libstdc++.so.* | libgcc_s.so.* | libpthread.so.* | libdl.so.* | ld-linux*) ;;
        *) fail "libvtr.so needs $name" ;;
    esac
done

cmake -S "$source/examples/c" -B "$work/example" -DCMAKE_PREFIX_PATH="$work/moved" >"$work/log" 2>&1 ||
    fail "the example cannot be configured: $(cat "$work/log")"
cmake --build "$work/example" >"$work/log" 2>&1 || fail "the example cannot be built: $(cat "$work/log")"

PKG_CONFIG_PATH="$folder/pkgconfig"
export PKG_CONFIG_PATH
[ "$(pkg-config --modversion vtr)" = "$(sed -n 's/.*project(vtr VERSION \([0-9.]*\).*/\1/p' "$source/CMakeLists.txt")" ] ||
    fail "pkg-config and CMakeLists.txt disagree about the version"
# shellcheck disable=SC2046
${CC:-cc} -std=c11 -pedantic -Wall -Wextra -Werror "$source/tests/engine/package_bank.c" -o "$work/shared" \
    $(pkg-config --cflags --libs vtr) -Wl,-rpath,"$folder"
# shellcheck disable=SC2046
${CC:-cc} -std=c11 "$source/tests/engine/package_bank.c" -o "$work/static" \
    $(pkg-config --cflags vtr) "$folder/libvtr_static.a" -lstdc++ -lm -ldl -pthread
${CXX:-c++} -std=c++17 -pedantic -Wall -Wextra -Werror -fsyntax-only -x c++ "$work/moved/include/vtr/vtr.h"

# Both programs write the same bank, and say what its texts should find.
"$work/shared" "$work/videos.vtrbank" >"$work/expected"
"$work/static" "$work/again.vtrbank" | cmp - "$work/expected"
cmp "$work/videos.vtrbank" "$work/again.vtrbank"

"$work/example/vtr_service" "$work/none" 2>"$work/log" && fail "the service starts without a bank"
grep -q "none cannot be opened" "$work/log" || fail "the service does not say why: $(cat "$work/log")"

converse() { # options of the service, which begin with how to reach it
    rm -f "$work/listening"
    "$work/example/vtr_service" "$work/videos.vtrbank" "$@" --connections 4 >"$work/listening" 2>"$work/log" &
    service=$!
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -s "$work/listening" ] && break
        sleep 0.3
    done
    python3 "$source/tests/engine/package_client.py" "$(sed 's/listening on //' "$work/listening")" "$work/expected" ||
        fail "the service with $*: $(cat "$work/log")"
    kill -TERM "$service"
    wait "$service" || fail "the service does not end cleanly: $(cat "$work/log")"
    service=
}
converse --port 0
"$work/example/vtr_service" "$work/videos.vtrbank" --port http 2>"$work/log" && fail "a port that is no number is taken"
# A service that is killed leaves its socket, which the next one takes over; that of one that runs is refused.
"$work/example/vtr_service" "$work/videos.vtrbank" --socket "$work/socket" >"$work/listening" 2>"$work/log" &
service=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -S "$work/socket" ] && break
    sleep 0.3
done
"$work/example/vtr_service" "$work/videos.vtrbank" --socket "$work/socket" >"$work/second" 2>&1 &&
    fail "two services on one socket"
grep -q "Address already in use" "$work/second" || fail "the second service does not say why: $(cat "$work/second")"
kill -KILL "$service"
wait "$service" || true
service=
[ -S "$work/socket" ] || fail "the killed service leaves no socket: nothing is tested"
converse --socket "$work/socket" --threads 2
[ ! -e "$work/socket" ] || fail "the service leaves its socket behind"
