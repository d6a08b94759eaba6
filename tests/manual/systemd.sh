#!/bin/bash
# Tries harpd's units under a real systemd: a Debian in a folder, booted by QEMU under
# software emulation.  Not for CI: it takes ten minutes, root, 2 GB of disk, debootstrap,
# qemu-system-x86 and e2fsprogs, and Debian's and Python's registries.
#
#     tests/manual/systemd.sh FOLDER     (a new folder, or that of an earlier run)
#
# What the machine said is in FOLDER/console.log; exits with 0 if all checks passed.
set -eu
if [ $# -ne 1 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
guest=$folder/debian
kernel=linux-image-cloud-amd64

if [ ! -e "$folder/debian.ready" ]; then
    debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,openssl,procps,kmod,udev,$kernel \
        bookworm "$guest" http://deb.debian.org/debian
    # Registries here may be reached through a certificate of the house.
    cp /etc/ssl/certs/ca-certificates.crt "$guest/etc/ssl/certs/"
    cp /etc/resolv.conf "$guest/etc/"
    printf 'virtio_pci\nvirtio_blk\next4\n' >> "$guest/etc/initramfs-tools/modules"
    chroot "$guest" update-initramfs -u
    echo "/dev/vda / ext4 defaults 0 1" > "$guest/etc/fstab"
    echo "127.0.0.1 localhost agent.example.net" > "$guest/etc/hosts"
    chroot "$guest" python3 -m venv /opt/harpcaller
    touch "$folder/debian.ready"
fi

rm -rf "$folder/dist" "$folder/source"
mkdir "$folder/source"
git -C "$source" archive HEAD | tar -x -C "$folder/source"
python3 -m pip wheel --quiet --no-deps --wheel-dir "$folder/dist" "$folder/source"
rm -f "$guest"/root/*.whl
cp "$folder"/dist/*.whl "$guest/root/"
chroot "$guest" sh -c 'PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    /opt/harpcaller/bin/pip install --quiet --no-cache-dir --upgrade --force-reinstall /root/*.whl'
ln -sf /opt/harpcaller/bin/harpd "$guest/usr/bin/harpd"
cp "$source"/etc/harpd/harpd.service "$source"/etc/harpd/harpd.socket "$guest/etc/systemd/system/"
install -m 0755 "$here/systemd_checks.sh" "$guest/root/checks.sh"
cat > "$guest/etc/systemd/system/checks.service" <<'END'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/root/checks.sh
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=20min
[Install]
WantedBy=graphical.target
END
chroot "$guest" systemctl --quiet enable checks.service
chroot "$guest" systemctl --quiet mask serial-getty@ttyS0.service

rm -f "$folder/image"
truncate -s 3G "$folder/image"
mke2fs -q -t ext4 -d "$guest" "$folder/image"
timeout 1800 qemu-system-x86_64 -m 2048 -smp 2 -accel tcg,thread=multi -nographic -no-reboot -nic none \
    -kernel "$guest"/boot/vmlinuz-* -initrd "$guest"/boot/initrd.img-* \
    -append "root=/dev/vda rw console=ttyS0 loglevel=1 systemd.show_status=0" \
    -drive file="$folder/image",format=raw,if=virtio < /dev/null | sed -u 's|\r$||' | tee "$folder/console.log"
grep -q '^all checks are through' "$folder/console.log" && ! grep -q '^not ok' "$folder/console.log"
