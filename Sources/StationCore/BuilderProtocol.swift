/// How much a checksum list's signature counts.
package enum SignaturePolicy: String, Codable, CaseIterable, Sendable {
    /// Nothing is taken without a good signature by a trusted key.
    case require
    /// A signature that is missing, or by an unknown key, is told of; a wrong one is refused.
    case warn
    /// Nobody looks at signatures. Checksums count all the same.
    case off
}

/// Where Image Builders come from and how they are fetched: `[ImageBuilder]` of the configuration.
package struct BuilderSource: Equatable, Codable, Sendable {
    /// Base URLs, tried in their order: what `releases/…` is below.
    package var mirrors: [String] = ["https://downloads.openwrt.org"]
    package var signaturePolicy = SignaturePolicy.require
    /// Only what is here is used, and nothing is asked.
    package var isOffline = false
    /// A proxy's URL; nil takes what the environment says.
    package var proxy: String?
    /// A file of certificates that are trusted besides the system's.
    package var certificateAuthority: String?
    /// How often one file is tried anew, all mirrors together, and how long a transfer may stand still, in seconds.
    package var retryCount = 5
    package var stallSeconds: Double = 30

    /// Whether an Image Builder that was taken on such grounds may be used; it may have been under another policy.
    package func takes(_ vouching: ImageVouching?) -> Bool {
        signaturePolicy != .require || vouching?.kind == .signature
    }

    package init() {}
}

/// What the station asks for when it needs an Image Builder.
package struct BuilderRequest: Equatable, Codable, Sendable {
    package var triple: BuilderTriple
    package var source: BuilderSource
    /// The archive that the station knows for this triple, if it knows one: taken without a question where it is unpacked, unless
    /// `isRefresh`.
    package var known: SHA256Digest?
    /// Ask the server whether its archive is another one by now.
    package var isRefresh: Bool
    /// What everything in the library may take.
    package var byteLimit: UInt64

    package init(
        triple: BuilderTriple, source: BuilderSource, known: SHA256Digest?, isRefresh: Bool, byteLimit: UInt64
    ) {
        self.triple = triple
        self.source = source
        self.known = known
        self.isRefresh = isRefresh
        self.byteLimit = byteLimit
    }
}

/// An Image Builder that is unpacked in the library, in a directory named by its archive's SHA-256.
package struct BuilderFacts: Equatable, Codable, Sendable {
    package var triple: BuilderTriple
    /// As the server names it.
    package var archiveName: String
    package var archiveSHA256: SHA256Digest
    package var archiveByteCount: UInt64
    /// What it takes unpacked.
    package var byteCount: UInt64
    /// Who vouched for the archive: a signature over the list of checksums, or the list alone.
    package var vouching: ImageVouching
    /// The base URL that it came from.
    package var mirror: String
    /// What `make info` says, without the profiles, which are sent one message before.
    package var target: String
    package var architecture: String?
    package var revision: String
    package var defaultPackages: [String]
    /// It was here already, and nothing was fetched.
    package var wasThere: Bool
    /// What somebody should know, such as a signature by a key that is not known, under the policy `warn`.
    package var warnings: [StationError]

    package init(
        triple: BuilderTriple, archiveName: String, archiveSHA256: SHA256Digest, archiveByteCount: UInt64,
        byteCount: UInt64, vouching: ImageVouching, mirror: String, info: BuilderInfo, wasThere: Bool,
        warnings: [StationError]
    ) {
        self.triple = triple
        self.archiveName = archiveName
        self.archiveSHA256 = archiveSHA256
        self.archiveByteCount = archiveByteCount
        self.byteCount = byteCount
        self.vouching = vouching
        self.mirror = mirror
        target = info.target
        architecture = info.architecture
        revision = info.revision
        defaultPackages = info.defaultPackages
        self.wasThere = wasThere
        self.warnings = warnings
    }
}
