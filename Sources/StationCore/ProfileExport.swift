extension Profile {
    /// The profile under the schema's names and in its order, without what was not given.
    /// - Parameter meta: goes into a `meta` section, `created_by` with it.
    package func document(meta: ProfileMeta? = nil) -> DocumentValue {
        var table = DocumentValue.Builder()
        table.add("profile_id", profileID)
        table.add("name", name)
        table.add("description", description)
        table.add("device_id", deviceID)
        table.add("tags", tags)
        table.add("openwrt_release", release)
        table.add("target", target)
        table.add("subtarget", subtarget)
        table.add("imagebuilder_profile", imageBuilderProfile)
        table.add("packages", packages)
        table.add("packages_remove", packagesRemove)
        table.add("files", files.map(\.document))
        table.add("overlay_dir", overlayDirectory)
        table.add("policies", policies.document)
        table.add("build_defaults", buildDefaults.document)
        table.add("bin_dir", binDirectory)
        table.add("extra_image_name", extraImageName)
        table.add("disabled_services", disabledServices)
        if let size = rootfsPartitionMebibytes { table.add("rootfs_partsize", .integer(Int64(size))) }
        table.add("add_local_key", addLocalKey)
        if meta == nil { table.add("created_by", createdBy) }
        table.add("notes", notes)
        if let meta {
            var section = DocumentValue.Builder()
            section.add("created_at", meta.createdAt)
            section.add("updated_at", meta.updatedAt)
            section.add("created_by", createdBy ?? meta.createdBy)
            table.add("meta", section.table)
        }
        return table.table
    }

    /// The one text that stands for its content, whatever it was written in.
    package var canonicalJSON: String { document().canonicalJSON }

    /// Of the canonical text: two profiles with one digest are the same.
    package var digest: SHA256Digest { SHA256.digest(of: canonicalJSON.utf8) }
}

extension Profile.File {
    fileprivate var document: DocumentValue {
        var table = DocumentValue.Builder()
        table.add("source", source)
        table.add("destination", destination)
        table.add("mode", mode)
        table.add("owner", owner)
        return table.table
    }
}

extension Profile.Policies {
    fileprivate var document: DocumentValue {
        var table = DocumentValue.Builder()
        table.add("filesystem", filesystem?.rawValue)
        table.add("include_kernel_symbols", includeKernelSymbols)
        table.add("strip_debug", stripDebug)
        table.add("auto_resize_rootfs", autoResizeRootfs)
        table.add("allow_snapshot", allowSnapshot)
        return table.table
    }
}

extension Profile.BuildDefaults {
    fileprivate var document: DocumentValue {
        var table = DocumentValue.Builder()
        table.add("rebuild_if_cached", rebuildIfCached)
        table.add("initramfs", initramfs)
        table.add("keep_build_dir", keepBuildDirectory)
        return table.table
    }
}

extension DocumentValue {
    /// Builds a table of what is there: nothing that is nil, no list and no table without members.
    fileprivate struct Builder {
        private var members: [Member] = []

        var table: DocumentValue { .table(members) }

        mutating func add(_ key: String, _ value: DocumentValue) {
            if value != .list([]), value != .table([]) { members.append(Member(key, value)) }
        }

        mutating func add(_ key: String, _ items: [DocumentValue]) { add(key, .list(items)) }
        mutating func add(_ key: String, _ texts: [String]) { add(key, .list(texts.map { .text($0) })) }
        mutating func add(_ key: String, _ text: String?) { if let text { add(key, .text(text)) } }
        mutating func add(_ key: String, _ flag: Bool?) { if let flag { add(key, .boolean(flag)) } }
    }
}

extension Profile: Codable {
    /// Every rule holds for what is decoded, too.
    package init(from decoder: any Decoder) throws {
        let reading = ProfileReader.read(DocumentNode(try JSONValue(from: decoder)))
        guard let profile = reading.profile else { throw reading.error }
        self = profile
    }

    package func encode(to encoder: any Encoder) throws { try document().json.encode(to: encoder) }
}

extension DocumentValue {
    /// The same as JSON without an order.
    package var json: JSONValue {
        switch self {
        case .text(let text): .string(text)
        case .integer(let value): .integer(value)
        case .boolean(let value): .bool(value)
        case .list(let items): .array(items.map(\.json))
        case .table(let members):
            .object(Dictionary(members.map { ($0.key, $0.value.json) }, uniquingKeysWith: { first, _ in first }))
        }
    }
}
