import StationCore
import StationLinux

/// What `org.varlink.service.GetInfo` says of this program.
package struct ServiceInformation: Codable, Equatable, Sendable {
    package var vendor: String
    package var product: String
    package var version: String
    package var url: String
    package var interfaces: [String]

    package init(version: String, url: String = "man:stationd(8)") {
        vendor = "flashing-station"
        product = "flashing-station"
        self.version = version
        self.url = url
        interfaces = [VarlinkService.name, ControlInterface.name]
    }
}

/// Carries out calls: finds the method, checks who may call it and what it is given, asks the station, and sends the replies.
struct ControlMethods: Sendable {
    /// Sends one reply and returns when the client has taken it; false when there is no client any more.
    typealias Send = @Sendable ([UInt8]) async -> Bool

    let control: any StationControl
    let information: ServiceInformation
    let limits: ControlLimits

    var encoder: ReplyEncoder { ReplyEncoder(byteLimit: limits.replyByteCount) }

    /// - Parameter privilege: nil for a stranger.
    func perform(_ call: ControlCall, privilege: Control.Privilege?, caller: UInt32, send: @escaping Send) async {
        let send: Send = call.isOneWay ? { @Sendable _ in true } : send
        var answer: [UInt8]
        do {
            guard let last = try await self.answer(call, privilege: privilege, caller: caller, send: send) else {
                return
            }
            answer = last
        } catch let refusal as CallRefusal {
            answer = encoder.refusal(refusal)
        } catch let error as StationError {
            answer = encoder.failure(error)
        } catch is CancellationError {
            return
        } catch {
            answer = encoder.failure(StationError("internal_error", "\(error)"))
        }
        _ = await send(answer)
    }

    /// - Returns: the last reply; nil when the client has gone.
    private func answer(
        _ call: ControlCall, privilege: Control.Privilege?, caller: UInt32, send: Send
    ) async throws -> [UInt8]? {
        guard !call.wantsUpgrade else { throw CallRefusal.methodNotImplemented(call.method.printable(limit: 200)) }
        if let method = call.stationMethod {
            guard let privilege, privilege >= method.privilege else { throw CallRefusal.permissionDenied }
            return switch method {
            case .getStatus, .watch, .explain, .listHistory, .listImages, .watchDevices:
                try await read(method, call, send: send)
            case .listCards, .getStatistics, .inspect, .forgiveCard:
                try await cards(method, call, caller: caller, send: send)
            case .listProfiles, .listProfileVersions, .getProfile, .importProfile, .deleteProfile:
                try await profiles(method, call, caller: caller)
            case .listBuilders, .getBuilder, .ensureBuilder, .pruneBuilders, .build, .listBuilds, .getBuild,
                .getBuildLog,
                .cancelBuild, .removeBuild:
                try await building(method, call, caller: caller, send: send)
            case .assign, .unassign, .arm, .disarm, .flash, .cancel, .identify, .importImage, .verifyImage,
                .removeImage,
                .reload, .snapshotStore:
                try await change(method, call, caller: caller, send: send)
            }
        }
        switch call.method {
        case "\(VarlinkService.name).GetInfo":
            _ = try call.parameters(Control.Empty.self, known: [])
            return encoder.reply(information)
        case "\(VarlinkService.name).GetInterfaceDescription":
            let query = try call.parameters(VarlinkService.Query.self, known: ["interface"])
            guard let text = VarlinkService.descriptions[query.interface] else {
                throw CallRefusal.interfaceNotFound(query.interface.printable(limit: 200))
            }
            return encoder.reply(["description": text])
        default:
            let interface = call.method.split(separator: ".").dropLast().joined(separator: ".")
            if VarlinkService.descriptions[interface] != nil {
                throw CallRefusal.methodNotFound(call.method.printable(limit: 200))
            }
            throw CallRefusal.interfaceNotFound(interface.printable(limit: 200))
        }
    }

    private func read(_ method: Control.Method, _ call: ControlCall, send: Send) async throws -> [UInt8]? {
        let known = ControlInterface.parameterNames(of: method)
        switch method {
        case .explain:
            let query = try call.parameters(Control.SlotQuery.self, known: known)
            return encoder.reply(try await control.explain(slot: query.slot))
        case .listHistory:
            return try await history(call, query: call.parameters(Control.HistoryQuery.self, known: known), send: send)
        case .listImages:
            _ = try call.parameters(Control.Empty.self, known: known)
            return encoder.reply(try await control.images())
        case .watchDevices:
            _ = try call.parameters(Control.Empty.self, known: known)
            guard call.more else { throw CallRefusal.expectedMore }
            return try await subscription(control.deviceUpdates(), send: send)
        case .watch where call.more:
            _ = try call.parameters(Control.Empty.self, known: known)
            return try await subscription(control.statusUpdates(), send: send)
        default:
            _ = try call.parameters(Control.Empty.self, known: known)
            return encoder.reply(await control.status())
        }
    }

    private func history(_ call: ControlCall, query: Control.HistoryQuery, send: Send) async throws -> [UInt8]? {
        if let limit = query.limit, !(1...10_000).contains(limit) { throw CallRefusal.invalidParameter("limit") }
        if let word = query.verdict, !["passed", "failed", "refused", "cancelled", "interrupted"].contains(word) {
            throw CallRefusal.invalidParameter("verdict")
        }
        var jobs = try await control.history(query).jobs[...]
        while call.more, jobs.count > limits.jobsPerReply {
            let part = Control.History(jobs: Array(jobs.prefix(limits.jobsPerReply)))
            guard await send(encoder.reply(part, continues: true)) else { return nil }
            jobs = jobs.dropFirst(limits.jobsPerReply)
        }
        return encoder.reply(Control.History(jobs: Array(jobs)))
    }

    /// Sends what a stream yields. The next element is asked for when the client has taken the one before, so that a slow
    /// client gets the newest instead of a queue.
    private func subscription<Element: Encodable & Sendable>(
        _ updates: AsyncStream<Element>, send: Send
    ) async throws -> [UInt8]? {
        for await update in updates {
            guard await send(encoder.reply(update, continues: true)) else { return nil }
        }
        try Task.checkCancellation()
        throw StationError("station_stopping", "the station is going down", remedy: "systemctl status stationd")
    }

    private func change(
        _ method: Control.Method, _ call: ControlCall, caller: UInt32, send: Send
    ) async throws -> [UInt8]? {
        let known = ControlInterface.parameterNames(of: method)
        switch method {
        case .assign:
            let parameters = try call.parameters(Control.Assign.self, known: known)
            guard !parameters.slots.isEmpty else { throw CallRefusal.invalidParameter("slots") }
            guard (parameters.image == nil) != (parameters.profile == nil) else {
                throw CallRefusal.invalidParameter(parameters.image == nil ? "image" : "profile")
            }
            var last: Control.Changed?
            for try await changed in try await control.assign(parameters, caller: caller) {
                // Who did not ask for more hears what was changed; the image is made ready all the same.
                guard call.more else { return encoder.reply(changed) }
                if let last, await !send(encoder.reply(last, continues: true)) { return nil }
                last = changed
            }
            try Task.checkCancellation()
            return encoder.reply(last ?? Control.Changed(slots: []))
        case .flash:
            let parameters = try call.parameters(Control.Flash.self, known: known)
            return encoder.reply(try await control.flash(parameters, caller: caller))
        case .identify:
            let parameters = try call.parameters(Control.Identify.self, known: known)
            if let seconds = parameters.seconds, !Control.Identify.limits.contains(seconds) {
                throw CallRefusal.invalidParameter("seconds")
            }
            return encoder.reply(try await control.identify(parameters, caller: caller))
        case .importImage:
            return try await importImage(
                call, call.parameters(Control.ImportImage.self, known: known), caller: caller, send: send)
        case .verifyImage:
            let parameters = try call.parameters(Control.ImageQuery.self, known: known)
            return try await follow(control.verifyImage(named: parameters.name), call, send: send)
        case .removeImage:
            let parameters = try call.parameters(Control.ImageQuery.self, known: known)
            try await control.removeImage(named: parameters.name, caller: caller)
            return encoder.reply(Control.Empty())
        case .snapshotStore:
            _ = try call.parameters(Control.Empty.self, known: known)
            guard call.descriptors.count == 1 else {
                throw StationError(
                    "descriptor_missing", "\(call.descriptors.count) files came beside the call, it takes one")
            }
            return encoder.reply(try await control.snapshotStore(into: call.descriptors[0]))
        case .reload:
            _ = try call.parameters(Control.Empty.self, known: known)
            try await control.reload(caller: caller)
            return encoder.reply(Control.Empty())
        default:
            let slots = try call.parameters(Control.Slots.self, known: known).slots
            guard !slots.isEmpty || method == .disarm else { throw CallRefusal.invalidParameter("slots") }
            return switch method {
            case .unassign: encoder.reply(try await control.unassign(slots: slots, caller: caller))
            case .arm: encoder.reply(try await control.arm(slots: slots, caller: caller))
            case .disarm: encoder.reply(try await control.disarm(slots: slots, caller: caller))
            default: encoder.reply(try await control.cancel(slots: slots, caller: caller))
            }
        }
    }

    private func importImage(
        _ call: ControlCall, _ parameters: Control.ImportImage, caller: UInt32, send: Send
    ) async throws -> [UInt8]? {
        if let sha256 = parameters.sha256, SHA256Digest(sha256) == nil { throw CallRefusal.invalidParameter("sha256") }
        guard Set(parameters.companions).count == parameters.companions.count else {
            throw CallRefusal.invalidParameter("companions")
        }
        guard call.descriptors.count == 1 + parameters.companions.count else {
            throw StationError(
                "descriptor_missing",
                "\(call.descriptors.count) files came beside the call, and it is about \(1 + parameters.companions.count)",
                remedy: "send their descriptors with the message (SCM_RIGHTS), as stationctl image import does")
        }
        let updates = try await control.importImage(parameters, files: call.descriptors, caller: caller)
        return try await follow(updates, call, send: send)
    }

    /// Tells how far something is with an image; the last reply is the one that has it.
    private func follow(
        _ updates: AsyncThrowingStream<Control.ImportProgress, any Error>, _ call: ControlCall, send: Send
    ) async throws -> [UInt8]? {
        for try await progress in updates {
            if progress.image != nil { return encoder.reply(progress) }
            guard call.more else { continue }
            guard await send(encoder.reply(progress, continues: true)) else { return nil }
        }
        try Task.checkCancellation()
        throw StationError("internal_error", "it ended without an image")
    }
}

/// The interface that every Varlink service has.
enum VarlinkService {
    static let name = "org.varlink.service"

    struct Query: Decodable { var interface: String }

    /// By interface.
    static let descriptions = [name: description, ControlInterface.name: ControlInterface.description]

    private static let description = """
        # The Varlink service interface: what a service is and what it offers.
        interface org.varlink.service

        # Who made the service, and which interfaces it has.
        method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)

        # The description of one interface.
        method GetInterfaceDescription(interface: string) -> (description: string)

        error InterfaceNotFound (interface: string)
        error MethodNotFound (method: string)
        error MethodNotImplemented (method: string)
        error InvalidParameter (parameter: string)
        # The peer may not call the method.
        error PermissionDenied ()
        # The method is to be called with more.
        error ExpectedMore ()

        """
}
