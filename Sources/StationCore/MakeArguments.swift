/// What a build hands to `make image`: one argument a variable, no shell between.
///
/// make expands what it is given, whoever quotes it. A profile was held to `ProfileRules` long before; here each value is held
/// once more to letters, digits and a few marks that no make and no shell expands.
package enum MakeArguments {
    /// - Parameters:
    ///   - files: where the profile's files are in the sandbox.
    ///   - binDirectory: fresh, in the sandbox.
    /// - Throws: `value_unsafe`, naming the variable.
    package static func image(
        of profile: Profile, extraPackages: [String], files: String, binDirectory: String
    ) throws(StationError) -> [String] {
        let packages = effectivePackages(of: profile, extraPackages: extraPackages)
        var variables: [(String, String)] = [
            ("PROFILE", profile.imageBuilderProfile), ("PACKAGES", packages.joined(separator: " ")),
            ("FILES", files), ("BIN_DIR", binDirectory), ("EXTRA_IMAGE_NAME", profile.extraImageName ?? ""),
            ("DISABLED_SERVICES", profile.disabledServices.joined(separator: " ")),
        ]
        if let size = profile.rootfsPartitionMebibytes { variables.append(("ROOTFS_PARTSIZE", "\(size)")) }
        if profile.addLocalKey == true { variables.append(("ADD_LOCAL_KEY", "1")) }
        var arguments = ["image"]
        for (name, value) in variables where !value.isEmpty {
            guard value.utf8.allSatisfy(isPlain) else {
                throw StationError(
                    "value_unsafe",
                    "\(name)=\(value.printable(limit: 80)) has a character that make or a shell would expand",
                    remedy: "import the profile again: stationctl profile validate says which field it is")
            }
            arguments.append("\(name)=\(value)")
        }
        return arguments
    }

    /// `PACKAGES=`: what is put in, then what is taken out, each once.
    package static func effectivePackages(of profile: Profile, extraPackages: [String]) -> [String] {
        var seen: Set<String> = []
        return (profile.packages + extraPackages + profile.packagesRemove.map { "-\($0)" }).filter {
            seen.insert($0).inserted
        }
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
            || " _.+-/".utf8.contains(byte)
    }
}
