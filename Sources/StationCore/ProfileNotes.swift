extension Profile {
    /// What its author should know: preferences that cannot be had, and what is listed twice.
    ///
    /// The Image Builder puts ready packages and a ready kernel together. Symbols, stripping and initramfs images were decided
    /// when those were made, so such preferences are kept, recorded and exported, and change nothing.
    package var remarks: [ProfileNote] {
        var remarks: [ProfileNote] = []
        let fixed = [
            (
                "policies.include_kernel_symbols", policies.includeKernelSymbols,
                "kernel symbols are fixed in its kernel"
            ),
            ("policies.strip_debug", policies.stripDebug, "its packages come stripped, or do not"),
            ("build_defaults.initramfs", buildDefaults.initramfs, "it brings initramfs images, or does not"),
        ]
        for (field, value, why) in fixed where value != nil {
            remarks.append(ProfileNote("not_available", field: field, "the Image Builder cannot do this: \(why)"))
        }
        let lists = [
            ("tags", tags), ("packages", packages), ("packages_remove", packagesRemove),
            ("disabled_services", disabledServices),
        ]
        for (field, list) in lists {
            var seen: Set<String> = []
            for item in list where !seen.insert(item).inserted {
                remarks.append(ProfileNote("listed_twice", field: field, "\(item) is listed twice"))
            }
        }
        return remarks
    }

    /// Whether builds may publish into `bin_dir`: nil when there is none, or it lies in one of the station's export directories.
    /// - Parameter roots: absolute paths, `ExportRoots=` of the configuration.
    package func exportProblem(roots: [String]) -> ProfileViolation? {
        guard let directory = binDirectory else { return nil }
        let isInside = roots.contains { directory == $0 || directory.hasPrefix($0.hasSuffix("/") ? $0 : $0 + "/") }
        return isInside
            ? nil
            : ProfileViolation(
                "export_not_allowed", field: "bin_dir", "“\(directory)” is in none of the station's export directories",
                remedy: roots.isEmpty
                    ? "root allows some with ExportRoots= in station.conf" : "one of: \(roots.joined(separator: ", "))",
                at: .start)
    }
}

extension Profile {
    /// Whether it puts files into its image.
    package var namesFiles: Bool { !files.isEmpty || overlayDirectory != nil }
}
