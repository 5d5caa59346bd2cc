#!/bin/sh
# Makes server.qcow2 of the PV in the file $1: a container with the passphrase "banana", in the second partition of a disk.
set -eu
size=$(stat -c %s "$1")
secret=secret,id=key,data=banana
options=key-secret=key,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,iter-time=10
rm -f luks.raw disk.raw
qemu-img create -q -f luks --object $secret -o $options luks.raw "$size"
qemu-img convert -n -S 0 --object $secret --image-opts --target-image-opts \
    driver=raw,file.filename="$1" driver=luks,key-secret=key,file.filename=luks.raw
truncate -s 4M disk.raw
printf 'label: gpt\nstart=64, size=64\nstart=128, size=7000, name=server\n' | sfdisk -q disk.raw
dd if=luks.raw of=disk.raw bs=512 seek=128 conv=notrunc status=none
qemu-img convert -c -O qcow2 -o cluster_size=4k disk.raw server.qcow2
rm luks.raw disk.raw
