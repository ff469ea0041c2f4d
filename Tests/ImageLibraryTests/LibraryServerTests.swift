import FoundationEssentials
import Glibc
import StationCore
import StationLinux
import Synchronization
import Testing

@testable import ImageLibrary

/// The station's side of one connection, for tests.
struct Asker {
    let socket: LocalSocket
    let server: Elsewhere<LibraryServer.Outcome>

    init(_ bench: VaultBench) throws {
        let (mine, theirs) = try LocalSocket.pair(.messages)
        socket = mine
        let vault = bench.vault
        server = Elsewhere { LibraryServer(vault: vault, connection: theirs).serve() }
    }

    func ask(_ request: LibraryRequest, _ descriptors: [Descriptor] = []) throws {
        _ = try socket.send(JSONEncoder().encode(request), descriptors: descriptors)
    }

    /// The next message; nil at the end of the connection.
    static func next(_ socket: LocalSocket) throws -> LibraryMessage? {
        let message = try socket.receive(limit: LibraryRequest.messageLimit)
        return message.bytes.isEmpty ? nil : try JSONDecoder().decode(LibraryMessage.self, from: Data(message.bytes))
    }

    /// What is said last; progress before it is passed over.
    func answer() throws -> LibraryMessage? {
        while let message = try Self.next(socket) {
            if case .progress = message { continue }
            return message
        }
        return nil
    }
}

@Suite("the library's server")
struct LibraryServerTests {
    static let anyImage = LibraryRequest.importImage(ImportConditions(byteLimit: 1 << 30), companions: [])

    @Test("says what is asked of it, in characters that a terminal may have")
    func announcement() throws {
        let bench = try VaultBench()
        let (mine, theirs) = try LocalSocket.pair(.messages)
        let said = Mutex<[String]>([])
        let vault = bench.vault
        let server = Elsewhere {
            LibraryServer(
                vault: vault, connection: theirs, announce: { request in said.withLock { $0.append(request.title) } }
            )
            .serve()
        }
        let conditions = ImportConditions(byteLimit: 1 << 30, fileName: "evil\u{1B}[2J\nSTATUS=mine.img")
        let image = try bench.file(VaultBench.image(1 << 20))
        _ = try mine.send(
            JSONEncoder().encode(LibraryRequest.importImage(conditions, companions: [])), descriptors: [image])
        #expect(try server.value() == .answered(nil))
        let title = try #require(said.withLock { $0 }.first)
        #expect(title.hasPrefix("importing an image from evil") && title == title.printable())
    }

    @Test("an image is imported, and removed, on one connection each")
    func importsAndRemoves() throws {
        let bench = try VaultBench()
        let bytes = VaultBench.image((3 << 20) + 1)
        let digest = try VaultBench.digest(bytes)
        for wasThere in [false, true] {
            let asker = try Asker(bench)
            try asker.ask(Self.anyImage, [bench.file(bytes)])
            let first = try Asker.next(asker.socket)
            #expect(first == .progress(.reading, bytesDone: 1 << 20, bytesTotal: UInt64(bytes.count)))
            #expect(
                try asker.answer()
                    == .imported(sha256: digest, byteCount: UInt64(bytes.count), wasThere: wasThere, origin: .unknown))
            #expect(try asker.server.value() == .answered(nil))
            #expect(try Asker.next(asker.socket) == nil, "one request, then the end")
        }
        let asker = try Asker(bench)
        try asker.ask(.removeImage(digest))
        #expect(try asker.answer() == .removed)
        #expect(try asker.server.value() == .answered(nil))
        #expect(bench.names.isEmpty)
    }

    @Test("what the vault refuses is told with its code and its remedy")
    func refusal() throws {
        let bench = try VaultBench()
        let asker = try Asker(bench)
        try asker.ask(Self.anyImage, [bench.file([0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C])])
        guard case .failed(let error) = try asker.answer() else {
            Issue.record("it was not refused")
            return
        }
        #expect(error.code == "image_compressed" && !error.remedy.isEmpty)
        #expect(try asker.server.value() == .answered(error))
    }

    @Test("the conditions of the request are those of the import")
    func conditions() throws {
        let bytes = [UInt8](repeating: 9, count: 1000)
        let other = try VaultBench.digest([1])
        func conditions(_ limit: UInt64, expected: SHA256Digest? = nil, isRaw: Bool = false) -> LibraryRequest {
            .importImage(ImportConditions(byteLimit: limit, expected: expected, isRaw: isRaw), companions: [])
        }
        let cases: [(LibraryRequest, String?)] = [
            (conditions(1000, isRaw: true), nil),
            (conditions(1000), "image_no_table"),
            (conditions(999, isRaw: true), "image_too_large"),
            (conditions(1000, expected: other, isRaw: true), "hash_mismatch"),
        ]
        for (request, code) in cases {
            let bench = try VaultBench()
            let asker = try Asker(bench)
            try asker.ask(request, [bench.file(bytes)])
            _ = try asker.answer()
            guard case .answered(let error) = try asker.server.value() else {
                Issue.record("no answer")
                continue
            }
            #expect(error?.code == code)
        }
    }

    @Test("a request that is none is answered so, and nothing is touched")
    func invalidRequests() throws {
        let bench = try VaultBench()
        let image = try bench.file(VaultBench.image(4096))
        let request = Array(try JSONEncoder().encode(Self.anyImage))
        let removal = Array(try JSONEncoder().encode(LibraryRequest.removeImage(VaultBench.digest([]))))
        let bad: [([UInt8], [Descriptor])] = [
            (Array("nonsense".utf8), []), (Array("{}".utf8), [image]), (request, []), (request, [image, image]),
            (removal, [image]), (Array(#"{"removeImage":{"_0":"../../etc/passwd"}}"#.utf8), []),
            // Whole up to the limit, and cut there.
            (request + [UInt8](repeating: 32, count: LibraryRequest.messageLimit), [image]),
        ]
        for (bytes, descriptors) in bad {
            let asker = try Asker(bench)
            _ = try asker.socket.send(bytes, descriptors: descriptors)
            guard case .failed(let error) = try asker.answer() else {
                Issue.record("it was taken: \(bytes.prefix(40))")
                continue
            }
            #expect(error.code == "request_invalid")
        }
        #expect(bench.names.isEmpty)
    }

    @Test("who hangs up before the request is not waited for")
    func noRequest() throws {
        let asker = try Asker(VaultBench())
        asker.socket.hangUp()
        #expect(try asker.server.value() == .abandoned)
    }

    @Test("who hangs up while a pipe gives nothing ends the import, and nothing is left", arguments: [false, true])
    func hangsUpWhileWaiting(usesNamedFiles: Bool) throws {
        let bench = try VaultBench(usesNamedFiles: usesNamedFiles)
        let (reading, writing) = try VaultBench.pipe()
        let asker = try Asker(bench)
        try asker.ask(Self.anyImage, [reading])
        try Self.fill(writing)
        #expect(try Asker.next(asker.socket) == .progress(.reading, bytesDone: 1 << 20, bytesTotal: nil))
        #expect(bench.names.count == (usesNamedFiles ? 1 : 0), "under way it is there, where it needs a name")
        // The writing end stays open: only the hang-up can end this.
        asker.socket.hangUp()
        #expect(try asker.server.value() == .abandoned)
        #expect(bench.names.isEmpty)
        #expect(writing.number >= 0, "it was open all the time")
    }

    @Test("any further message ends an import as a hang-up does")
    func furtherMessage() throws {
        let bench = try VaultBench()
        let (reading, writing) = try VaultBench.pipe()
        let asker = try Asker(bench)
        try asker.ask(Self.anyImage, [reading])
        try Self.fill(writing)
        _ = try Asker.next(asker.socket)
        _ = try asker.socket.send(Array("stop".utf8))
        #expect(try asker.server.value() == .abandoned)
        #expect(bench.names.isEmpty)
        #expect(writing.number >= 0, "it was open all the time")
    }

    @Test("who hangs up while a file is read finds nothing sealed")
    func hangsUpWhileReading() throws {
        let bench = try VaultBench()
        let (mine, theirs) = try LocalSocket.pair(.messages)
        _ = try mine.send(JSONEncoder().encode(Self.anyImage), descriptors: [bench.file(VaultBench.image(4 << 20))])
        // Gone before the server has begun: it sees the end between two pieces.
        mine.hangUp()
        #expect(LibraryServer(vault: bench.vault, connection: theirs).serve() == .abandoned)
        #expect(bench.names.isEmpty)
    }

    /// The first MiB of an image and a bit more, into a pipe whose other end is being read.
    static func fill(_ writing: Descriptor) throws {
        try VaultBench.image((1 << 20) + 10).withUnsafeBytes { try writing.write(all: $0) }
    }
}
