/// The key of one build: 32 lower-case hexadecimal digits. It stands in the image, too: `/etc/flashing-station-release`.
package struct BuildID: Hashable, TextCoded, Sendable {
    package let text: String

    /// A new key from the system's random numbers.
    package init() { text = JobID().text }

    /// Nil when the text is not 32 lower-case hexadecimal digits.
    package init?(_ text: String) {
        guard text.utf8.count == 32, text.isLowerHexadecimal else { return nil }
        self.text = text
    }

    package init(coded text: String) throws(StationError) {
        guard let value = BuildID(text) else {
            throw StationError("build_id_invalid", "a build id has 32 hexadecimal digits")
        }
        self = value
    }

    package var short: String { String(text.prefix(8)) }
    package var description: String { text }
}

/// What one build may take: `[Build]` of the configuration.
package struct BuildLimits: Equatable, Codable, Sendable {
    /// Whether the Image Builder may fetch packages.
    package var isOnline = true
    /// After which it is ended, in seconds.
    package var seconds: Double = 3600
    package var memoryByteCount: UInt64 = 4 << 30
    package var processCount = 1024
    /// What it may write.
    package var diskByteCount: UInt64 = 16 << 30

    package init() {}
}

/// One run of the Image Builder.
package struct BuildRequest: Equatable, Codable, Sendable {
    package var id: BuildID
    package var triple: BuilderTriple
    /// The archive's SHA-256, which names the builder's directory.
    package var builder: SHA256Digest
    package var profile: Profile
    /// The archive of the profile's files, in the vault.
    package var overlaySHA256: SHA256Digest?
    /// `PACKAGES=` besides the profile's, from the request.
    package var extraPackages: [String]
    package var limits: BuildLimits
    /// Leaves what the Image Builder worked in beside the artifacts, to look into.
    package var keepsDirectory: Bool
    /// Publishes a copy of the artifacts to `DIR/BUILD/`; already held against `ExportRoots=`.
    package var exportDirectory: String?
    /// What everything in the library may take.
    package var byteLimit: UInt64

    package init(
        id: BuildID, triple: BuilderTriple, builder: SHA256Digest, profile: Profile, overlaySHA256: SHA256Digest?,
        extraPackages: [String] = [], limits: BuildLimits = BuildLimits(), keepsDirectory: Bool = false,
        exportDirectory: String? = nil, byteLimit: UInt64
    ) {
        self.id = id
        self.triple = triple
        self.builder = builder
        self.profile = profile
        self.overlaySHA256 = overlaySHA256
        self.extraPackages = extraPackages
        self.limits = limits
        self.keepsDirectory = keepsDirectory
        self.exportDirectory = exportDirectory
        self.byteLimit = byteLimit
    }
}

/// The parts of fetching a builder and of a build, as far as they take time.
package enum BuildStep: String, Codable, CaseIterable, Sendable {
    /// The list of checksums and its signature are fetched.
    case resolving
    case downloading
    /// The archive is checked and unpacked.
    case unpacking
    /// `make info`.
    case examining
    /// The files of the profile are laid out.
    case preparing
    /// `make image`.
    case building
    /// Artifacts are checked against their checksums, and the card's image is unpacked and sealed.
    case collecting
}

/// A file that a build produced.
package struct Artifact: Equatable, Codable, Sendable {
    /// The file's name.
    package var name: String
    /// As profiles.json says: `combined`, `sdcard`, `sysupgrade`; `manifest` and `other` for what it does not list.
    package var type: String
    /// `squashfs`, `ext4`; nil where profiles.json says none.
    package var filesystem: String?
    package var byteCount: UInt64
    package var sha256: SHA256Digest
    /// How the file looked when it was sealed: whoever finds it otherwise reads it again before it is believed.
    package var witness: FileWitness

    package init(
        name: String, type: String, filesystem: String?, byteCount: UInt64, sha256: SHA256Digest, witness: FileWitness
    ) {
        self.name = name
        self.type = type
        self.filesystem = filesystem
        self.byteCount = byteCount
        self.sha256 = sha256
        self.witness = witness
    }
}

/// What changes when a file's bytes are changed: who finds all of it as it was need not read the file again. (What rots on the
/// disk by itself shows only when it is read.) Corresponds to `stat(2)`.
package struct FileWitness: Equatable, Codable, Sendable {
    package var inode: UInt64
    package var byteCount: UInt64
    /// Nanoseconds since 1970 of the last change of the bytes, and of anything about the file.
    package var modifiedAt: Int64
    package var changedAt: Int64

    package init(inode: UInt64, byteCount: UInt64, modifiedAt: Int64, changedAt: Int64) {
        self.inode = inode
        self.byteCount = byteCount
        self.modifiedAt = modifiedAt
        self.changedAt = changedAt
    }
}

/// What a build left in the library.
package struct BuildProduct: Equatable, Codable, Sendable {
    package var artifacts: [Artifact]
    /// Of `profiles.json`: `r28739-d9340319c6`.
    package var versionCode: String
    /// How many packages the manifest has.
    package var packageCount: Int
    /// The artifact that goes onto a card, unpacked and sealed in the vault; nil where there is none.
    package var card: CardImage?
    /// Why there is none.
    package var cardRefusal: StationError?
    /// What all of it takes.
    package var byteCount: UInt64
    /// Of the station's own key, where the image trusts it: SHA-256 of its public half.
    package var localKey: SHA256Digest?

    package init(
        artifacts: [Artifact], versionCode: String, packageCount: Int, card: CardImage?, cardRefusal: StationError?,
        byteCount: UInt64, localKey: SHA256Digest? = nil
    ) {
        self.artifacts = artifacts
        self.versionCode = versionCode
        self.packageCount = packageCount
        self.card = card
        self.cardRefusal = cardRefusal
        self.byteCount = byteCount
        self.localKey = localKey
    }
}

/// The image of a build as it goes onto cards: raw, in the vault.
package struct CardImage: Equatable, Codable, Sendable {
    /// The artifact it was unpacked from.
    package var artifact: String
    package var sha256: SHA256Digest
    package var byteCount: UInt64
    package var witness: FileWitness

    package init(artifact: String, sha256: SHA256Digest, byteCount: UInt64, witness: FileWitness) {
        self.artifact = artifact
        self.sha256 = sha256
        self.byteCount = byteCount
        self.witness = witness
    }
}

/// Everything that is in the library, with what it takes on the disk, in bytes.
package struct LibraryHoldings: Equatable, Codable, Sendable {
    package struct Entry: Equatable, Codable, Sendable {
        /// A SHA-256 or a build's id.
        package var name: String
        package var byteCount: UInt64

        package init(name: String, byteCount: UInt64) {
            self.name = name
            self.byteCount = byteCount
        }
    }

    package var images: [Entry]
    package var overlays: [Entry]
    package var builders: [Entry]
    package var builds: [Entry]
    /// Of the station's own key for packages, once there is one: SHA-256 of its public half.
    package var localKey: SHA256Digest?

    package init(
        images: [Entry], overlays: [Entry], builders: [Entry], builds: [Entry], localKey: SHA256Digest? = nil
    ) {
        self.images = images
        self.overlays = overlays
        self.builders = builders
        self.builds = builds
        self.localKey = localKey
    }

    /// Takes in what another message had.
    package mutating func add(_ other: LibraryHoldings) {
        images += other.images
        overlays += other.overlays
        builders += other.builders
        builds += other.builds
        localKey = other.localKey ?? localKey
    }

    /// The same in parts of at most so many entries; the last has the key.
    package func parts(entryCount: Int) -> [LibraryHoldings] {
        let kinds: [(WritableKeyPath<LibraryHoldings, [Entry]>, [Entry])] = [
            (\.images, images), (\.overlays, overlays), (\.builders, builders), (\.builds, builds),
        ]
        var parts: [LibraryHoldings] = []
        for (kind, entries) in kinds {
            for start in stride(from: 0, to: entries.count, by: entryCount) {
                var part = LibraryHoldings(images: [], overlays: [], builders: [], builds: [])
                part[keyPath: kind] = Array(entries[start..<min(entries.count, start + entryCount)])
                parts.append(part)
            }
        }
        if parts.isEmpty { parts.append(LibraryHoldings(images: [], overlays: [], builders: [], builds: [])) }
        parts[parts.count - 1].localKey = localKey
        return parts
    }
}
