#!/bin/sh
# run.sh BOCHS PACKAGES REGEXP runs tests of package kernel on an emulated processor with AMX. BOCHS is a built source tree of Bochs, PACKAGES
# a directory with Debian's packages unpacked; see README.md. The console goes to standard output. Fails unless the tests pass.
set -eu
bochs=$(realpath "$1") packages=$(realpath "$2") tests=$3
here=$(realpath "$(dirname "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CGO_ENABLED=0

mkdir -p "$work/root" "$work/iso"
go test -C "$here/../.." -c -o "$work/root/kernel.test" .
go build -C "$here/init" -o "$work/root/init" .
(cd "$work/root" && find . | "$packages/bin/cpio" --quiet -o -H newc >"$work/iso/initrd")
cp "$packages"/boot/vmlinuz-* "$work/iso/vmlinuz"
cp "$packages/usr/lib/ISOLINUX/isolinux.bin" "$packages/usr/lib/syslinux/modules/bios/ldlinux.c32" "$work/iso/"
# 590 is SERIALIZE, 580 and 297 are fast string moves: with these, a Linux on this Bochs loses its way before the first process.
cat >"$work/iso/isolinux.cfg" <<EOF
default tests
prompt 0
label tests
  kernel /vmlinuz
  append initrd=/initrd console=ttyS0,115200 mitigations=off tsc=reliable lpj=4000000 no_timer_check clearcpuid=590,580,297 panic=1 tests=$tests
EOF
LD_LIBRARY_PATH="$packages/usr/lib/x86_64-linux-gnu" "$packages/usr/bin/xorriso" -as mkisofs -quiet -o "$work/boot.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table "$work/iso"
cat >"$work/bochsrc" <<EOF
cpu: model=sapphire_rapids, ips=200000000, reset_on_triple_fault=0
memory: guest=1024, host=1024
romimage: file=$bochs/bios/BIOS-bochs-latest
vgaromimage: file=$bochs/bios/VGABIOS-lgpl/VGABIOS-lgpl-latest.bin
ata0-master: type=cdrom, path=$work/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/console
display_library: nogui
log: $work/log
panic: action=fatal
EOF
"$bochs/bochs" -q -f "$work/bochsrc" >"$work/out" 2>&1 || true # it exits with 1 when the machine is switched off
cat "$work/console"
grep -q '^init: <nil>' "$work/console"
