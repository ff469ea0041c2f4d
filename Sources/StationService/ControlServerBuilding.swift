import StationCore

/// The calls about Image Builders and builds.
extension ControlMethods {
    func building(
        _ method: Control.Method, _ call: ControlCall, caller: UInt32, send: Send
    ) async throws -> [UInt8]? {
        let known = ControlInterface.parameterNames(of: method)
        switch method {
        case .listBuilders:
            _ = try call.parameters(Control.Empty.self, known: known)
            return encoder.reply(try await control.builders())
        case .getBuilder:
            let query = try call.parameters(Control.BuilderQuery.self, known: known)
            return encoder.reply(try await control.builder(query))
        case .ensureBuilder:
            let query = try call.parameters(Control.BuilderQuery.self, known: known)
            return try await follow(control.ensureBuilder(query, caller: caller), call, send: send)
        case .pruneBuilders:
            let parameters = try call.parameters(Control.Prune.self, known: known)
            if let days = parameters.olderThanDays, !(0...36_500).contains(days) {
                throw CallRefusal.invalidParameter("olderThanDays")
            }
            return encoder.reply(try await control.pruneBuilders(parameters, caller: caller))
        case .build:
            let parameters = try call.parameters(Control.Build.self, known: known)
            if let packages = parameters.packages, packages.count > ProfileRules.packageCount {
                throw CallRefusal.invalidParameter("packages")
            }
            return try await follow(control.build(parameters, caller: caller), call, send: send)
        case .listBuilds:
            let filter = try call.parameters(Control.BuildFilter.self, known: known)
            if let limit = filter.limit, !(1...10_000).contains(limit) { throw CallRefusal.invalidParameter("limit") }
            return encoder.reply(try await control.builds(filter))
        case .getBuild:
            return encoder.reply(try await control.build(try query(call, known)))
        case .getBuildLog:
            var last = Control.BuildLogPart(text: "")
            for try await part in try await control.buildLog(try query(call, known)) {
                guard call.more else { return encoder.reply(part) }
                if !last.text.isEmpty, await !send(encoder.reply(last, continues: true)) { return nil }
                last = part
            }
            return encoder.reply(last)
        case .cancelBuild:
            try await control.cancelBuild(try query(call, known))
            return encoder.reply(Control.Empty())
        default:
            try await control.removeBuild(try query(call, known), caller: caller)
            return encoder.reply(Control.Empty())
        }
    }

    private func query(_ call: ControlCall, _ known: [String]) throws -> Control.BuildQuery {
        try call.parameters(Control.BuildQuery.self, known: known)
    }

    /// Tells how far something is; the last reply has what came of it.
    private func follow(
        _ updates: AsyncThrowingStream<Control.BuildProgress, any Error>, _ call: ControlCall, send: Send
    ) async throws -> [UInt8]? {
        for try await progress in updates {
            if progress.builder != nil || progress.build != nil { return encoder.reply(progress) }
            guard call.more else { continue }
            guard await send(encoder.reply(progress, continues: true)) else { return nil }
        }
        try Task.checkCancellation()
        throw StationError("internal_error", "it ended without a result")
    }
}
