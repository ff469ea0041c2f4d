import Glibc
package import StationCore
import StationLinux
import Synchronization

/// What the control socket asks of the station about Image Builders and builds.
extension Station {
    // MARK: Image Builders

    package func builders() async throws -> Control.Builders {
        Control.Builders(builders: try await store.builders())
    }

    package func builder(_ query: Control.BuilderQuery) async throws -> Control.BuilderDetails {
        let triple = try query.triple()
        guard let builder = try await store.builder(for: triple) else {
            let names = try await store.builders().map(\.title)
            throw StationError(
                "builder_unknown", "the Image Builder \(triple) is not here",
                remedy: triple.description.nearest(in: names).map { "did you mean \($0)?" }
                    ?? "stationctl builder ensure \(triple.release) \(triple.target) \(triple.subtarget)")
        }
        var profiles: [BuilderProfile] = []
        if let sha256 = builder.sha256 { profiles = try await store.builderProfiles(sha256) }
        return Control.BuilderDetails(builder: builder, profiles: profiles)
    }

    package func ensureBuilder(_ query: Control.BuilderQuery, caller: UInt32) async throws -> BuildRoom.Updates {
        await buildRoom.ensureBuilder(
            try query.triple(), isRefresh: query.isRefresh ?? false, callerUserID: caller)
    }

    package func pruneBuilders(_ parameters: Control.Prune, caller: UInt32) async throws -> Control.Pruned {
        let needed = try await neededBuilders()
        let now = SystemClock.wallSeconds()
        var pruned = Control.Pruned(builders: [], byteCount: 0)
        for builder in try await store.builders() where await !buildRoom.isInUse(builder) {
            let isOld = parameters.olderThanDays.map { days in
                now - (builder.lastUsedAt ?? builder.changedAt) >= Double(days) * 86_400
            }
            switch builder.state {
            case .pending: continue
            case .broken, .deprecated: break
            case .ready: guard isOld == true, !needed.contains(builder.title) else { continue }
            }
            if parameters.isDryRun != true {
                if let sha256 = builder.sha256 {
                    try await library.complete(.removeBuilder(sha256))
                }
                try await store.removeBuilder(builder, callerUserID: caller)
            }
            pruned.builders.append(builder)
            pruned.byteCount += builder.byteCount ?? 0
        }
        return pruned
    }

    /// Those of the profiles that slots have, or wait for.
    private func neededBuilders() async throws -> Set<String> {
        var names: Set<String> = []
        for machine in runners.values.map(\.current) {
            guard let id = machine.preparation?.profile ?? machine.assignment?.profile,
                let profile = try await store.profile(id)?.profile
            else { continue }
            names.insert("\(profile.release)/\(profile.target)/\(profile.subtarget)")
        }
        return names
    }

    // MARK: Builds

    package func build(_ parameters: Control.Build, caller: UInt32) async throws -> BuildRoom.Updates {
        let order = BuildOrder(
            profile: try await storedProfile(parameters.profileID), isForced: parameters.isForced ?? false,
            extraPackages: parameters.packages ?? [], callerUserID: caller)
        return await buildRoom.build(order)
    }

    package func builds(_ filter: Control.BuildFilter) async throws -> Control.Builds {
        Control.Builds(builds: try await store.builds(filter))
    }

    package func build(_ query: Control.BuildQuery) async throws -> Control.BuildDetails {
        let stored = try await store.build(query.build)
        let previous = try await store.previousBuild(of: stored.record)
        return Control.BuildDetails(
            build: stored.record, inputs: stored.inputs, previous: previous?.record.id,
            differences: previous.map { BuildInputs.differences($0.inputs, stored.inputs) } ?? [])
    }

    /// The log of a build that has ended, in parts.
    package func buildLog(_ query: Control.BuildQuery) async throws -> AsyncThrowingStream<
        Control.BuildLogPart, any Error
    > {
        let record = try await store.build(query.build).record
        let path = "\(setup.buildsDirectory)/\(record.id)/log"
        let file: Descriptor
        do {
            file = try Descriptor(opening: path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        } catch {
            throw StationError(
                "log_missing",
                record.state == .running
                    ? "the build \(record.id.short) still runs" : "the log of the build \(record.id.short) is gone",
                remedy: record.state == .running ? "stationctl build \(record.profileID) --follow shows it" : "")
        }
        return Self.parts(of: file)
    }

    /// A log, part by part as they are taken: neither the station waits for its reading, nor is more of it kept than a part.
    private nonisolated static func parts(of file: Descriptor) -> AsyncThrowingStream<Control.BuildLogPart, any Error> {
        let offset = Mutex<UInt64>(0)
        return AsyncThrowingStream {
            var buffer = [UInt8](repeating: 0, count: 32 * 1024)
            let start = offset.withLock { $0 }
            let count = try buffer.withUnsafeMutableBytes { try file.read(into: $0, at: start) }
            guard count > 0 else { return nil }
            offset.withLock { $0 += UInt64(count) }
            let lines = String(decoding: buffer[..<count], as: UTF8.self).split(
                separator: "\n", omittingEmptySubsequences: false)
            return Control.BuildLogPart(
                text: lines.map { line in
                    String(line).replacing("\t", with: "        ").printable(limit: 4000)
                }.joined(separator: "\n"))
        }
    }

    package func cancelBuild(_ query: Control.BuildQuery) async throws {
        let record = try await store.build(query.build).record
        guard await buildRoom.cancel(record.id) else {
            throw StationError("no_build", "the build \(record.id.short) does not run")
        }
    }

    package func removeBuild(_ query: Control.BuildQuery, caller: UInt32) async throws {
        let record = try await store.build(query.build).record
        let slots = try await store.slots(of: record)
        guard slots.isEmpty else {
            throw StationError(
                "image_assigned",
                "the image of the build \(record.id.short) is assigned to "
                    + slots.map(\.text).joined(separator: ", "),
                remedy: "assign something else there first, or: stationctl unassign "
                    + slots.map(\.text).joined(separator: " "))
        }
        guard record.state != .running else {
            throw StationError(
                "build_running", "the build \(record.id.short) runs",
                remedy: "stationctl builds cancel \(record.id.short)")
        }
        try await buildRoom.remove(record, callerUserID: caller)
    }

    func storedProfile(_ profileID: String) async throws -> StoredProfile {
        if let stored = try await store.profile(profileID) { return stored }
        throw try await unknownProfile(profileID)
    }

    // MARK: Slots that wait for an image

    /// Assigns a profile: at once where its image is there, else as soon as it is.
    /// - Returns: first what was changed, then how far the image is; last, what was changed.
    func assignProfile(
        _ profileID: String, to patterns: [String], caller: UInt32
    ) async throws -> AsyncThrowingStream<Control.Changed, any Error> {
        let order = BuildOrder(
            profile: try await storedProfile(profileID), isForced: false, extraPackages: [], callerUserID: caller)
        let runners = try find(patterns, allWhenEmpty: false)
        if let record = try await buildRoom.cached(order) {
            let assignment = try record.assignment()
            try await store.noteBuildUsed(record.id)
            journal.write(.buildReused(record))
            let changed = try await change(runners, caller: caller) { _ in .assign(assignment) }
            return AsyncThrowingStream { continuation in
                continuation.yield(changed)
                continuation.finish()
            }
        }
        var preparations: [SlotName: SlotMachine.Preparation] = [:]
        for runner in runners {
            preparations[runner.current.slot.name] = SlotMachine.Preparation(profile: profileID, callerUserID: caller)
        }
        let made = preparations
        var changed: Control.Changed
        do {
            changed = try await change(runners, caller: caller) { slot in
                .prepare(made[slot] ?? SlotMachine.Preparation(profile: profileID, callerUserID: caller))
            }
        } catch {
            // Slots that were told already do not wait for what nobody builds.
            let problem = error as? StationError ?? StationError("internal_error", "\(error)")
            for (slot, preparation) in made {
                await self.runners[slot]?.deliver(.preparationFailed(preparation.id, problem))
            }
            throw error
        }
        changed.isPreparing = true
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: Control.Changed.self)
        continuation.yield(changed)
        // It goes on when the caller hangs up: the slots wait for it.
        Task { [changed] in
            do {
                for try await progress in await buildRoom.build(order) {
                    var step = changed
                    step.progress = progress
                    continuation.yield(step)
                    guard let build = progress.build else { continue }
                    let assignment = try build.assignment()
                    for (slot, preparation) in made {
                        await self.runners[slot]?.deliver(.prepared(preparation.id, assignment))
                    }
                }
                var last = changed
                last.isPreparing = false
                continuation.yield(last)
                continuation.finish()
            } catch {
                let problem = error as? StationError ?? StationError("library_lost", "\(error)")
                for (slot, preparation) in made {
                    await self.runners[slot]?.deliver(.preparationFailed(preparation.id, problem))
                }
                continuation.finish(throwing: problem)
            }
        }
        return stream
    }

    /// Goes on with what slots waited for when the station went away.
    func resumePreparations() {
        for runner in runners.values {
            guard let preparation = runner.current.preparation, preparation.problem == nil else { continue }
            Task {
                do {
                    let order = BuildOrder(
                        profile: try await storedProfile(preparation.profile), isForced: false, extraPackages: [],
                        callerUserID: preparation.callerUserID)
                    for try await progress in await buildRoom.build(order) {
                        guard let build = progress.build else { continue }
                        runner.post(.prepared(preparation.id, try build.assignment()))
                    }
                } catch {
                    let problem = error as? StationError ?? StationError("library_lost", "\(error)")
                    runner.post(.preparationFailed(preparation.id, problem))
                }
            }
        }
    }

    private func change(
        _ runners: [SlotRunner], caller: UInt32, _ command: (SlotName) -> SlotMachine.Command
    ) async throws -> Control.Changed {
        var changed = Control.Changed(slots: [])
        for runner in runners {
            let machine = try await runner.perform(command(runner.current.slot.name), caller: caller)
            changed.slots.append(machine.slot.name)
            if machine.device?.hasMedium == true { changed.withCardIn.append(machine.slot.name) }
        }
        return changed
    }
}
