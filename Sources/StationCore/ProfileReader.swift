/// Reads a profile from a document, and finds everything that is wrong with it, not only the first thing.
package struct ProfileReader {
    var violations: [ProfileViolation] = []
    var positions: [String: DocumentPosition] = [:]

    package static func read(_ document: DocumentNode) -> ProfileReading {
        var reader = ProfileReader()
        let result = reader.profile(document)
        let isGood = reader.violations.isEmpty
        return ProfileReading(
            profile: isGood ? result?.0 : nil, meta: isGood ? result?.1 : nil,
            violations: reader.violations.sorted { $0.position < $1.position }, positions: reader.positions)
    }

    /// The keys of the schema.
    static let keys = [
        "profile_id", "name", "description", "device_id", "tags", "openwrt_release", "target", "subtarget",
        "imagebuilder_profile", "packages", "packages_remove", "files", "overlay_dir", "policies", "build_defaults",
        "bin_dir", "extra_image_name", "disabled_services", "rootfs_partsize", "add_local_key", "created_by",
        "created_at", "updated_at", "notes", "meta",
    ]

    private mutating func profile(_ document: DocumentNode) -> (Profile, ProfileMeta?)? {
        guard let table = table(document, "", keys: Self.keys) else { return nil }
        var profile = Profile(
            profileID: required(table, "profile_id", ProfileRules.profileID),
            name: required(table, "name", ProfileRules.name),
            deviceID: required(table, "device_id", ProfileRules.deviceID),
            release: required(table, "openwrt_release", ProfileRules.release),
            target: required(table, "target", ProfileRules.target),
            subtarget: required(table, "subtarget", ProfileRules.subtarget),
            imageBuilderProfile: required(table, "imagebuilder_profile", ProfileRules.imageBuilderProfile))
        profile.description = text(table, "description", ProfileRules.description)
        profile.tags = texts(table, "tags", ProfileRules.tag, limit: ProfileRules.tagCount)
        profile.packages = texts(table, "packages", ProfileRules.package, limit: ProfileRules.packageCount)
        profile.packagesRemove = texts(
            table, "packages_remove", ProfileRules.package, limit: ProfileRules.packageCount)
        profile.files = files(table)
        profile.overlayDirectory = text(table, "overlay_dir", ProfileRules.source)
        if let policies = subtable(table, "policies", keys: Self.policyKeys) {
            profile.policies = self.policies(policies)
        }
        if let defaults = subtable(table, "build_defaults", keys: Self.defaultKeys) {
            profile.buildDefaults = buildDefaults(defaults)
        }
        profile.binDirectory = text(table, "bin_dir", ProfileRules.binDirectory)
        profile.extraImageName = text(table, "extra_image_name", ProfileRules.extraImageName)
        profile.disabledServices = texts(
            table, "disabled_services", ProfileRules.service, limit: ProfileRules.serviceCount)
        profile.rootfsPartitionMebibytes = integer(
            table, "rootfs_partsize", ProfileRules.rootfsPartitionMebibytes, unit: "MiB")
        profile.addLocalKey = flag(table, "add_local_key")
        profile.createdBy = text(table, "created_by", ProfileRules.createdBy)
        profile.notes = text(table, "notes", ProfileRules.notes)
        let meta = meta(table)
        // A profile knows who made it, wherever an export put that.
        profile.createdBy = profile.createdBy ?? meta?.createdBy
        checkWhole(profile, table)
        return (profile, meta)
    }

    private static let fileKeys = ["source", "destination", "mode", "owner"]

    private mutating func files(_ table: Table) -> [Profile.File] {
        let nodes = list(table, "files", limit: ProfileRules.fileCount)
        var destinations: Set<String> = []
        var files: [Profile.File] = []
        for (index, node) in nodes.enumerated() {
            guard let entry = self.table(node, "files[\(index)]", keys: Self.fileKeys) else { continue }
            let file = Profile.File(
                source: required(entry, "source", ProfileRules.source),
                destination: required(entry, "destination", ProfileRules.destination),
                mode: text(entry, "mode", ProfileRules.mode), owner: text(entry, "owner", ProfileRules.owner))
            if !file.destination.isEmpty, !destinations.insert(file.destination).inserted {
                complain(
                    "destination_duplicate", entry, "destination",
                    "another entry has “\(file.destination.printable(limit: 60))”, too", remedy: "keep one of them")
            }
            files.append(file)
        }
        return files
    }

    private static let policyKeys = [
        "filesystem", "include_kernel_symbols", "strip_debug", "auto_resize_rootfs", "allow_snapshot",
    ]

    private mutating func policies(_ table: Table) -> Profile.Policies {
        var policies = Profile.Policies()
        policies.filesystem = choice(table, "filesystem")
        policies.includeKernelSymbols = flag(table, "include_kernel_symbols")
        policies.stripDebug = flag(table, "strip_debug")
        policies.autoResizeRootfs = flag(table, "auto_resize_rootfs")
        policies.allowSnapshot = flag(table, "allow_snapshot")
        return policies
    }

    private static let defaultKeys = ["rebuild_if_cached", "initramfs", "keep_build_dir"]

    private mutating func buildDefaults(_ table: Table) -> Profile.BuildDefaults {
        var defaults = Profile.BuildDefaults()
        defaults.rebuildIfCached = flag(table, "rebuild_if_cached")
        defaults.initramfs = flag(table, "initramfs")
        defaults.keepBuildDirectory = flag(table, "keep_build_dir")
        return defaults
    }

    private static let metaKeys = ["created_at", "updated_at", "created_by"]

    /// Both the section of an export and the same fields without a section, as the schema has them.
    private mutating func meta(_ table: Table) -> ProfileMeta? {
        var meta = ProfileMeta(
            createdAt: text(table, "created_at", ProfileRules.timestamp),
            updatedAt: text(table, "updated_at", ProfileRules.timestamp))
        if let section = subtable(table, "meta", keys: Self.metaKeys) {
            meta.createdAt = text(section, "created_at", ProfileRules.timestamp) ?? meta.createdAt
            meta.updatedAt = text(section, "updated_at", ProfileRules.timestamp) ?? meta.updatedAt
            meta.createdBy = text(section, "created_by", ProfileRules.createdBy)
            for key in Self.metaKeys where table.has(key) && section.has(key) {
                complain(
                    "meta_twice", section, key, "stands outside of meta, too", remedy: "keep one of them")
            }
        }
        return meta == ProfileMeta() ? nil : meta
    }

    /// What no field can say alone.
    private mutating func checkWhole(_ profile: Profile, _ table: Table) {
        if profile.isSnapshot, profile.policies.allowSnapshot != true {
            complain(
                "snapshot_not_allowed", table, "openwrt_release",
                "is a snapshot, and policies.allow_snapshot is not true",
                remedy: "set allow_snapshot: true under policies, or name a release")
        }
        let byteCount = profile.canonicalJSON.utf8.count
        if byteCount > ProfileRules.byteCount {
            complain(
                "profile_too_large", field: "",
                "it has \(Quantity.bytes(UInt64(byteCount))), and at most \(Quantity.bytes(UInt64(ProfileRules.byteCount))) "
                    + "are allowed", remedy: "put many files into one overlay_dir", at: .start)
        }
        let removed = Set(profile.packagesRemove)
        for (index, package) in profile.packages.enumerated() where !package.isEmpty && removed.contains(package) {
            complain(
                "package_contradiction", table, "packages[\(index)]",
                "“\(package.printable(limit: 60))” stands in packages_remove, too", remedy: "keep one of them")
        }
    }
}
