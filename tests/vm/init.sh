#!/bin/busybox sh
# The first process of a guest: it inserts the modules, puts the host's files in
# their places, runs the command that the host left in the writable share, and
# ends the machine with the command's exit status.

/bin/busybox --install -s /bin
export PATH=/bin

# QEMU's isa-debug-exit at port 0xf4 takes the status; 125 is the harness's own.
end() {
    sync
    printf "\\$(printf %03o "$1")" | dd of=/dev/port bs=1 seek=244 count=1 2>/dev/null
    poweroff -f
}

check() {
    "$@" && return
    echo "vm: failed: $*"
    end 125
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

while read -r module; do
    check insmod "/modules/$module"
done </modules/order

options=trans=virtio,version=9p2000.L,msize=512000
# "loose": nobody changes files that matter while the guest reads them.
check mount -t 9p -o "$options,ro,cache=loose" root /host

# What the guest hides of the host's files, but needs.
number=0
while read -r path; do
    number=$((number + 1))
    mkdir "/keep/$number"
    check mount --bind "/host$path" "/keep/$number"
done </keep/list
for path in /tmp /run; do
    check mount -t tmpfs -o mode=1777 tmpfs "/host$path"
done
number=0
while read -r path; do
    number=$((number + 1))
    check mkdir -p "/host$path"
    check mount --bind "/keep/$number" "/host$path"
done </keep/list

mkdir /host/run/vm
check mount -t 9p -o "$options,cache=none" share /host/run/vm

mount -t proc proc /host/proc
mount -t sysfs sysfs /host/sys
mount -t devtmpfs devtmpfs /host/dev
cd /host/dev
mkdir -p pts shm hugepages
mount -t devpts -o ptmxmode=0666 devpts pts
mount -t tmpfs -o mode=1777 tmpfs shm
# Xen gives dom0 no huge pages, and the kernel then knows no such file system.
if grep -q hugetlbfs /proc/filesystems; then
    mount -t hugetlbfs hugetlbfs hugepages
fi
ln -s /proc/self/fd fd
cd /
hostname guest
ip link set lo up

setsid cttyhack chroot /host /bin/sh /run/vm/command
end $?
