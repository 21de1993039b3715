#!/bin/sh
# weak_symbols.sh NM OBJECT...: fail if object files of kernels define functions or variables that the linker may
# merge with those of another object. Kernels are compiled once an instruction set; a merged function would bring
# instructions to processors that do not have them. DW.ref.* only name the handler of exceptions.
nm=$1
shift
[ $# -gt 0 ] || exit 2
status=0
for object; do
    symbols=$("$nm" -C --defined-only "$object") || exit 2
    weak=$(echo "$symbols" | grep ' [WVu] ' | grep -v ' DW\.ref\.')
    if [ -n "$weak" ]; then
        echo "$object: make these internal (an unnamed namespace) or [[gnu::always_inline]]:"
        echo "$weak"
        status=1
    fi
done
exit $status
