/// What the Image Builder cannot do itself, and a device does on its first boot: scripts in `/etc/uci-defaults`, each of which runs
/// once and is then deleted.
package enum FirstBootScripts {
    /// By their paths in the image; none for a profile that needs none.
    package static func scripts(for profile: Profile) -> [(path: String, text: String)] {
        var result: [(path: String, text: String)] = []
        if let text = owners(profile) { result.append(("etc/uci-defaults/95-flashing-station-owners", text)) }
        if profile.policies.autoResizeRootfs == true {
            result.append(("etc/uci-defaults/96-flashing-station-resize", resize))
        }
        return result
    }

    /// The Image Builder makes every file root's.
    private static func owners(_ profile: Profile) -> String? {
        let others = profile.files.compactMap { file in
            file.owner.flatMap { ["root", "root:root"].contains($0) ? nil : "chown -h \($0) '\(file.destination)'\n" }
        }
        guard !others.isEmpty else { return nil }
        return "#!/bin/sh\n# Owners of files, as the profile \(profile.profileID) has them.\n" + others.joined()
            + "exit 0\n"
    }

    /// Grows the partition of the root file system to the end of the card, then what is in it. It changes nothing where a tool is
    /// missing, where the partition is not the last, or where it is as large as it can be.
    private static let resize = #"""
        #!/bin/sh
        # Grows the root file system over the card. Needs parted, and for ext4 resize2fs and losetup; without them it does nothing.
        say() { logger -t flashing-station-resize "$1"; }
        root=$(awk '$2 == "/rom" && $1 ~ /^\/dev\/(mmcblk|sd|vd|nvme)/ { print $1 } $2 == "/" && $1 ~ /^\/dev\/(mmcblk|sd|vd|nvme)/ { print $1 }' /proc/mounts | head -n 1)
        if [ -z "$root" ]; then
            major_minor=$(awk '$5 == "/" { print $3; exit }' /proc/self/mountinfo)
            root=/dev/$(sed -n 's/^DEVNAME=//p' "/sys/dev/block/$major_minor/uevent" 2> /dev/null)
        fi
        name=${root#/dev/}
        number=$(cat "/sys/class/block/$name/partition" 2> /dev/null)
        [ -n "$number" ] || { say "the root file system is on no partition: $root"; exit 0; }
        disk=$(basename "$(readlink -f "/sys/class/block/$name/..")")
        command -v parted > /dev/null || { say "parted is not installed: the root file system stays as it is"; exit 0; }
        last=$(cat /sys/class/block/"$disk"/"$disk"*/partition 2> /dev/null | sort -n | tail -n 1)
        [ "$number" = "$last" ] || { say "behind $name there is another partition: it stays as it is"; exit 0; }
        before=$(cat "/sys/class/block/$name/size")
        parted -s "/dev/$disk" resizepart "$number" 100% || { say "parted could not grow $name"; exit 0; }
        after=$(cat "/sys/class/block/$name/size")
        say "$name: $before to $after sectors"
        if grep -q " / ext4 " /proc/mounts && command -v resize2fs > /dev/null; then
            resize2fs "$root" && say "$root was grown"
        fi
        # With squashfs the overlay lies behind it, on a loop device that has its size from the partition at mount: it is grown by
        # fstools at the next boot, where it was not made yet by then.
        exit 0

        """#
}
