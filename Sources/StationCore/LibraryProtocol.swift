/// A file that comes beside the image file at an import.
package enum ImportCompanion: String, Codable, CaseIterable, Sendable {
    /// A map of the image's blocks, with their checksums.
    case bmap
    /// A list of checksums: `<64 hexadecimal digits> *<name>` a line.
    case sums
    /// A detached signature: of the list where there is one, else of the image file.
    case signature
}

/// What is asked of an image when it is imported.
package struct ImportConditions: Equatable, Codable, Sendable {
    /// What all images may take, and any image be long.
    package var byteLimit: UInt64
    /// Fail unless the file as it is given has this SHA-256, or what it unpacks to.
    package var expected: SHA256Digest?
    /// Take bytes that begin with no partition table.
    package var isRaw: Bool
    /// The file's name without directories: a list of checksums is asked for it. Nil for a pipe.
    package var fileName: String?
    /// Which file of an archive is the image.
    package var member: String?

    package init(
        byteLimit: UInt64, expected: SHA256Digest? = nil, isRaw: Bool = false, fileName: String? = nil,
        member: String? = nil
    ) {
        self.byteLimit = byteLimit
        self.expected = expected
        self.isRaw = isRaw
        self.fileName = fileName
        self.member = member
    }
}

/// The parts of an import, as far as they take time.
package enum ImportStep: String, Codable, CaseIterable, Sendable {
    /// The file is copied aside: it is needed whole before anything is read from it.
    case copying
    /// It is read, unpacked and written.
    case reading
    /// The image is made to last a loss of power.
    case sealing
    /// An image is read that is in the library.
    case verifying
}

/// What the station asks station-library for, in one message, with descriptors beside it.
package enum LibraryRequest: Equatable, Codable, Sendable {
    /// Read the first descriptor beside the message to its end and seal it as an image. The companions' descriptors follow,
    /// in their order.
    case importImage(ImportConditions, companions: [ImportCompanion])
    /// Read a sealed image and compare.
    case verifyImage(SHA256Digest, byteCount: UInt64)
    /// Delete a sealed image.
    case removeImage(SHA256Digest)

    /// Read the archive of a profile's files from the descriptor beside the message, check it, and seal it under this SHA-256.
    case importOverlay(expected: SHA256Digest)

    /// Have an Image Builder unpacked in the library: fetched, verified, asked what it can build.
    case ensureBuilder(BuilderRequest)
    /// Delete an unpacked Image Builder, named by its archive's SHA-256, unless a build works with it.
    case removeBuilder(SHA256Digest)

    /// Run the Image Builder.
    case build(BuildRequest)
    /// Read a build's artifacts and its card image, and compare them with their checksums.
    case verifyBuild(BuildID, BuildProduct)
    /// Delete what a build left, but for the card's image in the vault.
    case removeBuild(BuildID)

    /// Say what is there, and clear away what was never finished.
    case listHoldings

    /// The largest message, in bytes.
    package static let messageLimit = 160 * 1024

    /// What is done for it, in one line of printable characters.
    package var title: String {
        switch self {
        case .importImage(let conditions, _):
            "importing an image" + (conditions.fileName.map { " from \($0.printable(limit: 80))" } ?? "")
        case .verifyImage(let sha256, _): "verifying image \(sha256.short)"
        case .removeImage(let sha256): "removing image \(sha256.short)"
        case .importOverlay(let sha256): "taking in a profile's files, \(sha256.short)"
        case .ensureBuilder(let request): "getting the Image Builder for \(request.triple) ready"
        case .removeBuilder(let sha256): "removing Image Builder \(sha256.short)"
        case .build(let request):
            "build \(request.id.short): \(request.profile.profileID.printable(limit: 80)) for \(request.triple)"
        case .verifyBuild(let id, _): "verifying build \(id.short)"
        case .removeBuild(let id): "removing build \(id.short)"
        case .listHoldings: "looking through the library"
        }
    }
}

/// What station-library says.
package enum LibraryMessage: Equatable, Codable, Sendable {
    /// - `bytesDone`: of the file that is read, as it is: packed.
    /// - `bytesTotal`: nil where the length is not known, as of a pipe.
    case progress(ImportStep, bytesDone: UInt64, bytesTotal: UInt64?)
    /// The image is sealed under its SHA-256.
    case imported(sha256: SHA256Digest, byteCount: UInt64, wasThere: Bool, origin: ImageOrigin)
    /// The files of a profile are sealed under their SHA-256.
    case importedOverlay(byteCount: UInt64)
    /// The image is what its name says.
    case verified
    case removed

    /// As `progress`: `bytesTotal` is nil where nobody knows it.
    case buildProgress(BuildStep, bytesDone: UInt64, bytesTotal: UInt64?)
    /// Some of the devices that a builder knows; the next message has more, or is `builder`.
    case builderProfiles([BuilderProfile])
    case builder(BuilderFacts)
    /// The next lines of a build's log, with their line ends, made printable.
    case log(String)
    case built(BuildProduct)
    /// Some of what is there; the next message has more, or is `holdings`.
    case someHoldings(LibraryHoldings)
    case holdings(LibraryHoldings)
    case failed(StationError)

    /// Whether nothing comes behind it.
    package var isLast: Bool {
        switch self {
        case .progress, .buildProgress, .builderProfiles, .someHoldings, .log: false
        case .imported, .importedOverlay, .verified, .removed, .builder, .built, .holdings, .failed: true
        }
    }
}
