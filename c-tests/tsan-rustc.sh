#!/bin/sh
# For tsan.sh: tsan-rustc.sh RUSTC ARGUMENT.... Lets a stable rustc take the sanitizer's flags. Were the variable in cargo's own
# environment, build scripts that watch it would run again each time, and with them all that is built on proc-macro2.
case " $* " in
    *" -Zsanitizer="*) export RUSTC_BOOTSTRAP=1 ;;
esac
exec "$@"
