/// What an Image Builder says of itself: the output of `make info`.
package struct BuilderInfo: Equatable, Codable, Sendable {
    /// `ath79/nand`.
    package var target: String
    /// `mips_24kc`; nil where the release does not say.
    package var architecture: String?
    /// `r28739-d9340319c6`: the version code.
    package var revision: String
    package var defaultPackages: [String]
    package var profiles: [BuilderProfile]

    package init(
        target: String, architecture: String?, revision: String, defaultPackages: [String], profiles: [BuilderProfile]
    ) {
        self.target = target
        self.architecture = architecture
        self.revision = revision
        self.defaultPackages = defaultPackages
        self.profiles = profiles
    }
}

/// One device that an Image Builder can build for.
package struct BuilderProfile: Equatable, Codable, Sendable {
    /// `PROFILE=`.
    package var name: String
    /// For people: `TP-Link Archer C6 v3`.
    package var title: String
    package var packages: [String]
    package var hasImageMetadata: Bool
    package var supportedDevices: [String]

    package init(
        name: String, title: String, packages: [String], hasImageMetadata: Bool, supportedDevices: [String]
    ) {
        self.name = name
        self.title = title
        self.packages = packages
        self.hasImageMetadata = hasImageMetadata
        self.supportedDevices = supportedDevices
    }
}
