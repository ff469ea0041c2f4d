/// Where the bytes of an image came from, and who says that they are right.
package struct ImageOrigin: Equatable, Codable, Sendable {
    /// What the file was called, without directories; nil for a pipe.
    package var fileName: String?
    /// What the image was packed in, from the outside in: `raw`, `gzip`, `zip › gzip`.
    package var container: String
    /// Whether a checksum in the packing covered all of the image, and was right. Nothing does for raw images, for zstd and
    /// lz4 made without one, and for a bare tar.
    package var isChecked: Bool
    package var vouching: ImageVouching

    package init(fileName: String?, container: String, isChecked: Bool, vouching: ImageVouching) {
        self.fileName = fileName
        self.container = container
        self.isChecked = isChecked
        self.vouching = vouching
    }

    /// Of an image of which nothing is known.
    package static let unknown = ImageOrigin(
        fileName: nil, container: rawContainer, isChecked: false, vouching: ImageVouching(kind: .none))

    package static let rawContainer = "raw"
}

/// How the bytes of an image were vouched for when it was imported: the strongest of what was there.
package struct ImageVouching: Equatable, Codable, Sendable {
    /// From the weakest to the strongest.
    package enum Kind: String, Codable, CaseIterable, Sendable {
        case none
        /// By the checksums of a bmap file.
        case bmap
        /// By a SHA-256 that somebody gave, or that a list of checksums has.
        case sha256
        /// By a signature, of the file or of the list of checksums that it is in.
        case signature
    }

    /// What the SHA-256 or the signature is of.
    package enum Subject: String, Codable, Sendable {
        /// The file as it was given.
        case file
        /// What it unpacks to.
        case image
    }

    package var kind: Kind
    package var subject: Subject?
    /// Of a signature: the key's fingerprint.
    package var key: String?

    package init(kind: Kind, subject: Subject? = nil, key: String? = nil) {
        self.kind = kind
        self.subject = subject
        self.key = key
    }

    /// Whether this says more of the same bytes than the other.
    package func isStronger(than other: ImageVouching) -> Bool {
        let order = Kind.allCases
        return (order.firstIndex(of: kind) ?? 0) > (order.firstIndex(of: other.kind) ?? 0)
    }
}
