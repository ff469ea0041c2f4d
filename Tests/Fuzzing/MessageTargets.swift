import FoundationEssentials
import Glibc
import StationCore
import StationTestSupport

@testable import StationLinux
@testable import StationService

extension FuzzTarget {
    /// What goes between the programs, both ways: a neighbour that was taken over may say anything.
    static let messageTargets = [
        FuzzTarget("control-call", lengthLimit: 2048, words: controlWords) { bytes in
            guard let call = ControlCall(message: bytes) else { return }
            let encoder = ReplyEncoder(byteLimit: Varlink.messageLimit)
            let known = call.stationMethod.map { ControlInterface.parameterNames(of: $0) } ?? []
            do {
                for read in call.stationMethod.map({ parameters(of: $0) }) ?? [readAs(Control.Empty.self)] {
                    try read(call, known)
                }
            } catch let refusal as CallRefusal {
                try demandReply(encoder.refusal(refusal), refusal.name)
            } catch let error as StationError {
                try demandReadable(error.code, error.message, error.remedy)
                try demandReply(encoder.failure(error), "\(ControlInterface.name).Failed")
            }
            let method = call.method.printable(limit: 200)
            try demandReply(encoder.refusal(.methodNotFound(method)), "org.varlink.service.MethodNotFound")
        },
        FuzzTarget("control-stream", lengthLimit: 1024, words: controlWords + ["\0"]) { bytes in
            let whole = try ControlStream(bytes, pieceLength: bytes.count)
            for length in [1, 7] where bytes.count > length {
                let pieces = try ControlStream(bytes, pieceLength: length)
                try demand(pieces.isGood == whole.isGood, "calls in pieces are refused, or only in pieces taken")
                try demand(!whole.isGood || pieces.methods == whole.methods, "calls in pieces are others")
            }
        },
        FuzzTarget(
            "control-reply", lengthLimit: 4096, words: controlWords + ["\0", "\"continues\":true", "\"error\":\""]
        ) { bytes in
            guard let kind = bytes.first else { return }
            try replies[Int(kind) % replies.count](Array(bytes.dropFirst()))
        },
        FuzzTarget("writer-request", lengthLimit: 2048, words: writerWords) { bytes in
            let data = Data(bytes)
            if let command = try accepted({ try JSONDecoder().decode(WriterCommand.self, from: data) }) {
                try demandSameAsJSON([command])
            }
            if let request = try accepted({ try JSONDecoder().decode(InspectionRequest.self, from: data) }) {
                try demandSameAsJSON(request)
            }
            guard let request = try accepted({ try JSONDecoder().decode(JobRequest.self, from: data) }) else { return }
            try demandSameAsJSON(request)
            let content = request.content
            guard try accepted({ try content.validate() }) != nil else { return }
            var last: UInt64 = 0
            for patch in content.patches {
                let (end, isTooFar) = patch.offset.addingReportingOverflow(UInt64(patch.bytes.count))
                try demand(!isTooFar && end <= content.byteCount, "a patch lies outside of the content")
                try demand(patch.offset >= last && end > patch.offset, "a patch lies over another, or is none")
                last = end
            }
        },
        FuzzTarget("writer-message", lengthLimit: 2048, words: writerWords) { bytes in
            // What a writer says of one job, a message a line, and what the station makes of it.
            var machine = SlotMachine(slot: try Samples.slot(), isArmed: true, assignment: try Samples.assignment())
            let came = SlotMachine.Input.device(
                Samples.card(), .card(machine.slot.name), bootID: "0123456789abcdef", wasThere: false)
            guard case .begin(let start)? = machine.handle(came, now: 100).first else {
                throw Violation(description: "a card came, and no job began")
            }
            for (index, line) in bytes.split(separator: 0x0A).prefix(8).enumerated() {
                let parse = { try JSONDecoder().decode(WriterMessage.self, from: Data(line)) }
                guard let message = try accepted(parse) else { continue }
                try demandSameAsJSON(message)
                let effects = machine.handle(.writer(start.id, message), now: 101 + Double(index))
                try demandSameAsJSON(SlotStatus(machine))
                for case .end(let start, let report) in effects {
                    let entry = JournalEntry.jobEnded(start, report)
                    try demand(
                        entry.message.unicodeScalars.allSatisfy(isShowable), "control characters go to the journal")
                    let isProven =
                        report.readBackSHA256 == start.assignment.sha256
                        && report.bytesVerified == start.assignment.byteCount
                    try demand(report.verdict != .passed || isProven, "a card passes that was not read back")
                    _ = SlotStatistics.bytesPerSecond(report)
                }
            }
        },
        FuzzTarget("library-request", lengthLimit: 2048, words: libraryWords) { bytes in
            let parse = { try JSONDecoder().decode(LibraryRequest.self, from: Data(bytes)) }
            guard let request = try accepted(parse) else { return }
            try demandSameAsJSON(request)
            if case .ensureBuilder(let request) = request { try demandInside(request.triple.serverPath) }
            if case .build(let request) = request {
                try demandInside(request.triple.archiveStem)
                try demandInside(request.id.text)
            }
        },
        FuzzTarget("library-message", lengthLimit: 2048, words: libraryWords) { bytes in
            var meter = ImportMeter()
            var buildMeter = BuildMeter()
            for (index, line) in bytes.split(separator: 0x0A).prefix(8).enumerated() {
                let parse = { try JSONDecoder().decode(LibraryMessage.self, from: Data(line)) }
                guard let message = try accepted(parse) else { continue }
                try demandSameAsJSON(message)
                switch message {
                case .progress(let step, let done, let total):
                    try demandSameAsJSON(meter.progress(step, done, total, now: Double(index)))
                case .buildProgress(let step, let done, let total):
                    try demandSameAsJSON(buildMeter.progress(step, done, total, now: Double(index)))
                case .holdings(let holdings):
                    var sum = LibraryHoldings(images: [], overlays: [], builders: [], builds: [])
                    for part in holdings.parts(entryCount: 2) { sum.add(part) }
                    try demand(sum == holdings, "what is in the library is another in parts")
                default: break
                }
            }
        },
        FuzzTarget("store-json", lengthLimit: 2048, words: writerWords + libraryWords) { bytes in
            // What columns of the store hold, which a restored backup brings from anywhere.
            let text = String(decoding: bytes, as: UTF8.self)
            try demandStored(SlotMachine.Preparation.self, text)
            try demandStored(JobReport.self, text)
            try demandStored(DeviceRecord.self, text)
            try demandStored(ImageOrigin.self, text)
            try demandStored(BuildProduct.self, text)
            try demandStored(BuilderInfo.self, text)
            try demandStored(CardContents.self, text)
        },
    ]

    private static let controlWords =
        [
            "{\"method\":\"\(ControlInterface.name).", "\"parameters\":{", "\"more\":true", "\"oneway\":true",
            "\"upgrade\":true", "org.varlink.service.GetInfo", "null", "true", "1e400", "\\u0000", "\\ud800",
        ] + Control.Method.allCases.map(\.rawValue)
        + Set(Control.Method.allCases.flatMap { ControlInterface.parameterNames(of: $0) }).sorted().map { "\"\($0)\":" }

    private static let writerWords =
        [
            "{\"progress\":{\"_0\":", "{\"ended\":{\"_0\":", "{\"recognised\":{\"_0\":", "{\"inspected\":{\"_0\":",
            "{\"held\":{}}", "\"verdict\":", "\"phase\":\"writing\"", "\"elapsedSeconds\":", "\"bytesWritten\":",
            "\"bytesVerified\":", "\"phaseBytesDone\":", "\"bytesDone\":", "\"bytesTotal\":", "\"writeSeconds\":",
            "\"patches\":[", "\"offset\":", "\"bytes\":[", "18446744073709551615", "-9223372036854775808", "1e308",
            "\"cancel\"", "\"proceed\"", "\"condition\":", "\"unlessHead\":",
        ]

    private static let libraryWords = [
        "{\"importImage\":{\"_0\":", "{\"ensureBuilder\":{\"_0\":", "{\"build\":{\"_0\":",
        "{\"progress\":{\"_0\":\"reading\"", "{\"holdings\":{\"_0\":", "{\"builder\":{\"_0\":", "{\"built\":{\"_0\":",
        "{\"failed\":{\"_0\":", "\"bytesDone\":",
        "\"bytesTotal\":", "18446744073709551615", "\"companions\":[", "\"profile\":", "\"triple\":", "\"artifacts\":[",
    ]
}

/// What the store makes of a column's text; nil is what it says of any that it does not know.
private func demandStored<Value: Codable & Equatable>(_: Value.Type, _ text: String) throws {
    guard let value = StoreJSON.value(Value.self, text) else { return }
    let again = StoreJSON.value(Value.self, try? StoreJSON.text(value))
    try demand(again == value, "\(Value.self) is another when it is read again")
}

// MARK: The control socket

/// Reads a call's parameters as the method's own code does.
private typealias ParameterReading = (ControlCall, [String]) throws -> Void

private func readAs<Parameters: Codable & Equatable>(_: Parameters.Type) -> ParameterReading {
    { call, known in try demandSameAsJSON(call.parameters(Parameters.self, known: known)) }
}

private func parameters(of method: Control.Method) -> [ParameterReading] {
    switch method {
    case .getStatus, .watch, .listImages, .watchDevices, .getStatistics, .listBuilders, .reload, .snapshotStore:
        [readAs(Control.Empty.self)]
    case .explain, .inspect: [readAs(Control.SlotQuery.self)]
    case .listHistory: [readAs(Control.HistoryQuery.self)]
    case .listCards: [readAs(Control.CardQuery.self)]
    case .assign: [readAs(Control.Assign.self)]
    case .unassign, .arm, .disarm, .cancel: [readAs(Control.Slots.self)]
    case .flash: [readAs(Control.Flash.self)]
    case .identify: [readAs(Control.Identify.self)]
    case .importImage: [readAs(Control.ImportImage.self)]
    case .verifyImage, .removeImage: [readAs(Control.ImageQuery.self)]
    case .listProfiles: [readAs(Control.ProfileFilter.self)]
    case .listProfileVersions, .deleteProfile: [readAs(Control.ProfileQuery.self)]
    case .getProfile: [readAs(Control.ProfileVersionQuery.self)]
    case .importProfile: [readAs(Control.ImportProfile.self)]
    case .forgiveCard: [readAs(Control.CardReference.self)]
    case .getBuilder, .ensureBuilder: [readAs(Control.BuilderQuery.self)]
    case .pruneBuilders: [readAs(Control.Prune.self)]
    case .build: [readAs(Control.Build.self)]
    case .listBuilds: [readAs(Control.BuildFilter.self)]
    case .getBuild, .getBuildLog, .cancelBuild, .removeBuild: [readAs(Control.BuildQuery.self)]
    }
}

/// A refusal is one message of Varlink's, with its name.
private func demandReply(_ bytes: [UInt8], _ error: String) throws {
    try demand(bytes.last == 0 && bytes.firstIndex(of: 0) == bytes.count - 1, "a reply is no message")
    let reply = try? JSONDecoder().decode(Varlink.Reply.self, from: Data(bytes.dropLast()))
    try demand(reply?.error == error, "a refusal is none")
    guard case .object(let parameters)? = reply?.parameters else { return }
    for case .string(let text) in parameters.values {
        try demand(text.unicodeScalars.allSatisfy(isShowable), "a refusal has control characters in it")
    }
}

/// A client that says these bytes in pieces of this length.
private struct ControlStream {
    var isGood = true
    var methods: [String] = []

    init(_ bytes: [UInt8], pieceLength: Int) throws {
        let socket = try LocalSocket.pair(.stream).0
        let connection = ControlConnection(
            socket: socket, peer: PeerCredentials(userID: 0, groupID: 0, processID: 1, groupIDs: []), privilege: .root)
        var rest = bytes[...]
        while !rest.isEmpty, isGood {
            let piece = ReceivedMessage(bytes: Array(rest.prefix(pieceLength)), descriptors: [], isTruncated: false)
            isGood = connection.take(piece, byteLimit: 512)
            rest = rest.dropFirst(pieceLength)
        }
        methods = connection.pending.map(\.method)
    }
}

/// What a client takes for a reply, by the method that it called.
private let replies: [@Sendable ([UInt8]) throws -> Void] = [
    { try demandReceived(Control.Status.self, $0) }, { try demandReceived(Control.Gates.self, $0) },
    { try demandReceived(Control.History.self, $0) }, { try demandReceived(Control.Images.self, $0) },
    { try demandReceived(Control.DeviceSeen.self, $0) }, { try demandReceived(Control.Cards.self, $0) },
    { try demandReceived(Control.Statistics.self, $0) }, { try demandReceived(Control.InspectProgress.self, $0) },
    { try demandReceived(Control.Changed.self, $0) }, { try demandReceived(Control.Identified.self, $0) },
    { try demandReceived(Control.ImportProgress.self, $0) }, { try demandReceived(Control.Profiles.self, $0) },
    { try demandReceived(Control.ProfileContent.self, $0) }, { try demandReceived(Control.Builders.self, $0) },
    { try demandReceived(Control.BuilderDetails.self, $0) }, { try demandReceived(Control.BuildProgress.self, $0) },
    { try demandReceived(Control.Builds.self, $0) }, { try demandReceived(Control.BuildDetails.self, $0) },
]

/// A station that answers with these bytes, and hangs up.
private func demandReceived<Reply: Codable & Equatable>(_: Reply.Type, _ bytes: [UInt8]) throws {
    let station = try StationSocket.shared.get()
    let connection = try VarlinkConnection(socketPath: station.path)
    guard let client = try station.listener.accept(nonblocking: false) else {
        throw Violation(description: "nobody connected")
    }
    _ = try client.send(bytes)
    _ = shutdown(client.descriptor.number, Int32(SHUT_WR))
    do {
        try connection.callMore("\(ControlInterface.name).Watch", Control.Empty(), as: Reply.self) { reply in
            try demandSameAsJSON(reply)
            return true
        }
    } catch let error as VarlinkError {
        try demand(error.text("message").unicodeScalars.allSatisfy(isShowable), "an error has control characters in it")
    } catch let error as StationError {
        try demandReadable(error.code, error.message, error.remedy)
    }
}

/// Where the clients of this process connect to.
private struct StationSocket {
    let path: String
    let listener: LocalSocket

    static let shared = Result { try StationSocket() }

    private init() throws {
        path = "\(getenv("TMPDIR").map { String(cString: $0) } ?? P_tmpdir)/station-fuzz-\(getpid())"
        unlink(path)
        listener = try LocalSocket.listen(at: path, .stream, mode: 0o600)
    }
}
