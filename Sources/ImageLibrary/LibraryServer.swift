import FoundationEssentials
package import StationCore
package import StationLinux

/// Serves one request of the station on one connection.
///
/// The connection is all that the other side can stop it with: its end, or any further message, ends an import, which
/// then leaves nothing behind.
package struct LibraryServer: Sendable {
    /// How a request ended.
    package enum Outcome: Equatable, Sendable {
        /// It was answered; with which error, where the answer was one.
        case answered(StationError?)
        /// The other side went away, before its request or before the answer.
        case abandoned
    }

    let vault: ImageVault
    let builders: BuilderDirectory?
    let builds: BuildDirectory?
    let keyDirectories: [String]
    let connection: LocalSocket
    private let announce: @Sendable (LibraryRequest) -> Void

    /// - Parameters:
    ///   - builders: where Image Builders are, and `builds` what they built; nil for a library that has none.
    ///   - keyDirectories: where the keys are that signatures are verified with.
    ///   - connection: of whole messages.
    ///   - announce: is told of the request before it is performed.
    package init(
        vault: ImageVault, builders: BuilderDirectory? = nil, builds: BuildDirectory? = nil,
        keyDirectories: [String] = TrustedKeys.directories, connection: LocalSocket,
        announce: @escaping @Sendable (LibraryRequest) -> Void = { _ in }
    ) {
        self.vault = vault
        self.builders = builders
        self.builds = builds
        self.keyDirectories = keyDirectories
        self.connection = connection
        self.announce = announce
    }

    /// Waits for the request, does it, and answers. Blocks.
    package func serve() -> Outcome {
        let message: ReceivedMessage
        do {
            message = try connection.receive(limit: LibraryRequest.messageLimit)
        } catch { return .abandoned }
        if message.bytes.isEmpty { return .abandoned }
        do {
            return answer(try perform(message))
        } catch {
            return error.code == "import_stopped" ? .abandoned : answer(.failed(error))
        }
    }

    /// Says over a connection that nothing will come of its request.
    package static func refuse(_ connection: LocalSocket, _ error: StationError) {
        _ = try? connection.send(encode(.failed(error)), waits: false)
    }

    private func perform(_ message: ReceivedMessage) throws(StationError) -> LibraryMessage {
        guard !message.isTruncated,
            let request = try? JSONDecoder().decode(LibraryRequest.self, from: Data(message.bytes))
        else { throw Self.invalid("it is not of the protocol's form, or too long") }
        announce(request)
        switch request {
        case .importImage(let conditions, let companions):
            let files = message.descriptors
            guard files.count == 1 + companions.count, Set(companions).count == companions.count else {
                throw Self.invalid("it needs one descriptor beside it, and one for each companion")
            }
            let image = try vault.importImage(
                from: files[0], conditions,
                companions: Dictionary(uniqueKeysWithValues: zip(companions, files.dropFirst())),
                keyDirectories: keyDirectories, stop: connection.descriptor, progress: tell)
            return .imported(
                sha256: image.sha256, byteCount: image.byteCount, wasThere: image.wasThere, origin: image.origin)
        case .verifyImage(let sha256, let byteCount):
            guard message.descriptors.isEmpty else { throw Self.invalid("it needs no descriptor beside it") }
            try vault.verifyImage(sha256, byteCount: byteCount, stop: connection.descriptor, progress: tell)
            return .verified
        case .importOverlay(let expected):
            guard message.descriptors.count == 1 else { throw Self.invalid("it needs one descriptor beside it") }
            return .importedOverlay(
                byteCount: try vault.importOverlay(
                    from: message.descriptors[0], expected: expected, stop: connection.descriptor))
        case .removeImage(let sha256):
            guard message.descriptors.isEmpty else { throw Self.invalid("it needs no descriptor beside it") }
            try vault.removeImage(sha256)
            return .removed
        case .ensureBuilder, .removeBuilder, .build, .verifyBuild, .removeBuild, .listHoldings:
            guard message.descriptors.isEmpty else { throw Self.invalid("it needs no descriptor beside it") }
            return try performBuilding(request)
        }
    }

    /// Who is slow to read misses a step of the progress; the library does not wait.
    private func tell(_ step: ImportStep, bytesDone: UInt64, bytesTotal: UInt64?) {
        let message = LibraryMessage.progress(step, bytesDone: bytesDone, bytesTotal: bytesTotal)
        _ = try? connection.send(Self.encode(message), waits: false)
    }

    /// Sends what is not the last word. What must arrive waits until the other side has taken what came before.
    func send(_ message: LibraryMessage, mustArrive: Bool) {
        _ = try? connection.send(Self.encode(message), waits: mustArrive)
    }

    private func answer(_ message: LibraryMessage) -> Outcome {
        guard (try? connection.send(Self.encode(message))) != nil else { return .abandoned }
        if case .failed(let error) = message { return .answered(error) }
        return .answered(nil)
    }

    private static func encode(_ message: LibraryMessage) -> [UInt8] {
        // The messages hold nothing that JSON cannot say, such as a number that is none.
        (try? JSONEncoder().encode(message)).map { Array($0) } ?? []
    }

    static func invalid(_ why: String) -> StationError {
        StationError("request_invalid", "the library's request: \(why)")
    }
}
