import Dispatch
import Glibc
import StationCore
import StationLinux

/// Makes one light do what is wanted of it, by the kernel where it can and by a timer of its own where not.
///
/// Everything happens on a queue of its own: a light that is slow, or hangs, holds up nobody. Nothing is read back to
/// decide what is shown.
///
/// `@unchecked Sendable` because all state is touched on that queue only.
final class LightDriver: @unchecked Sendable {
    private let light: Light
    private let tree: LightTree
    private let patience: Double
    private let queue: DispatchQueue
    /// Told of each change: what is wrong with the light, or nil when it works.
    private let report: @Sendable (StationError?) -> Void

    private var wanted: LightPattern?
    private var problem: StationError?
    /// The LED has the trigger `pattern`, so that a change of pattern is one write.
    private var hasPatternTrigger = false
    /// The trigger is set, and the pattern waits for udev's rule to give access to it.
    private var isAwaitingAccess = false
    /// udev did not: this light is driven from here until it comes anew.
    private var isPatternOutOfReach = false
    /// For the end of patience, or for the next step of a pattern that is driven from here.
    private var timer: (any DispatchSourceTimer)?

    /// - Parameter patience: how long udev may take to give access to what came with a trigger, in seconds.
    init(_ light: Light, tree: LightTree, patience: Double, report: @escaping @Sendable (StationError?) -> Void) {
        self.light = light
        self.tree = tree
        self.patience = patience
        self.report = report
        queue = DispatchQueue(label: "light")
    }

    /// Shows a pattern until another is wanted.
    func show(_ pattern: LightPattern) {
        queue.async {
            guard self.wanted != pattern else { return }
            self.wanted = pattern
            self.drive()
        }
    }

    /// Something happened to the light.
    /// - Parameter isNew: it came or went, so that what is known of it counts no more.
    func touched(isNew: Bool) {
        queue.async {
            guard self.wanted != nil else { return }
            if isNew { self.isPatternOutOfReach = false }
            if isNew || self.problem != nil {
                self.hasPatternTrigger = false
                self.drive()
            } else if self.isAwaitingAccess {
                self.perform { () throws in try self.writePattern() }
            }
        }
    }

    /// Turns the light off, the last that is done with it, and calls back.
    func end(_ done: @escaping @Sendable () -> Void) {
        queue.async {
            self.wanted = .dark
            self.drive()
            self.wanted = nil
            done()
        }
    }

    // MARK: On the queue

    private func drive() {
        stopTimer()
        isAwaitingAccess = false
        perform {
            switch self.light {
            case .led(let name): try self.driveLED(name)
            case .gpio(let chip, let offset, _):
                let number = try self.tree.lineNumber(chip: chip, offset: offset)
                try self.driveFromHere(self.tree.path(line: number, "value"), lit: "1")
            }
        }
    }

    /// Does something with the light, and tells when that changes what is wrong with it.
    private func perform(_ body: () throws -> Void) {
        var found: StationError?
        do { try body() } catch { found = Self.problem(error, light) }
        if found != nil {
            stopTimer()
            hasPatternTrigger = false
        }
        guard found != problem else { return }
        problem = found
        report(found)
    }

    private func driveLED(_ name: String) throws {
        guard (try? FileStatus(of: tree.path(led: name, "brightness"))) != nil else {
            throw StationError(
                "light_missing", "there is no LED \(name)", remedy: "see ls \(tree.ledsDirectory); is it plugged in?")
        }
        if case .steps = wanted {
            let triggers = SmallFile.attribute(tree.path(led: name, "trigger")) ?? ""
            let known = triggers.split(separator: " ").map { $0.filter { $0 != "[" && $0 != "]" } }
            if wanted == .even, known.contains("timer"), try setTrigger("timer", of: name) {
                hasPatternTrigger = false
                return
            }
            if !isPatternOutOfReach, hasPatternTrigger || known.contains("pattern") {
                if !hasPatternTrigger { hasPatternTrigger = try setTrigger("pattern", of: name) }
                if hasPatternTrigger { return try writePattern() }
            }
        }
        hasPatternTrigger = false
        let most = SmallFile.attribute(tree.path(led: name, "max_brightness")).flatMap { Int($0) } ?? 1
        try driveFromHere(tree.path(led: name, "brightness"), lit: "\(most)")
    }

    /// False where the kernel has it no more.
    private func setTrigger(_ trigger: String, of name: String) throws -> Bool {
        do {
            try LightTree.write(trigger, to: tree.path(led: name, "trigger"))
            return true
        } catch {
            if error.number == EINVAL { return false }
            throw error
        }
    }

    /// Writes the pattern, or waits for access to it: `touched` is called when udev has been there.
    private func writePattern() throws {
        guard case .led(let name) = light, let wanted else { return }
        let most = SmallFile.attribute(tree.path(led: name, "max_brightness")).flatMap { Int($0) } ?? 1
        do {
            try LightTree.write(
                wanted.kernelPattern(brightness: most) ?? "", to: tree.path(led: name, "pattern"))
            isAwaitingAccess = false
            stopTimer()
        } catch {
            switch error.number {
            case ENOENT, EACCES:
                guard !isAwaitingAccess else { return }
                isAwaitingAccess = true
                schedule(after: patience) { $0.doWithoutPattern() }
            case EINVAL: doWithoutPattern()
            default: throw error
            }
        }
    }

    private func doWithoutPattern() {
        isPatternOutOfReach = true
        hasPatternTrigger = false
        drive()
    }

    /// Sets the light by hand. Off comes first, because that takes any trigger from an LED.
    private func driveFromHere(_ path: String, lit: String) throws {
        try LightTree.write("0", to: path)
        switch wanted {
        case nil, .dark: break
        case .steady: try LightTree.write(lit, to: path)
        case .steps(let steps): try step(steps[...], of: steps, path, lit: lit)
        }
    }

    private func step(
        _ rest: ArraySlice<LightPattern.Step>, of steps: [LightPattern.Step], _ path: String, lit: String
    ) throws {
        guard let now = rest.first else { return }
        try LightTree.write(now.isLit ? lit : "0", to: path)
        let next = rest.count > 1 ? rest.dropFirst() : steps[...]
        schedule(after: Double(now.milliseconds) / 1000) { driver in
            driver.perform { try driver.step(next, of: steps, path, lit: lit) }
        }
    }

    private func schedule(after seconds: Double, _ body: @escaping @Sendable (LightDriver) -> Void) {
        stopTimer()
        let timer = DispatchSource.makeTimerSource(queue: queue)
        timer.schedule(deadline: .now() + seconds, leeway: .milliseconds(10))
        timer.setEventHandler { @Sendable [weak self] in
            guard let self else { return }
            body(self)
        }
        timer.resume()
        self.timer = timer
    }

    private func stopTimer() {
        timer?.cancel()
        timer = nil
    }

    private static func problem(_ error: any Error, _ light: Light) -> StationError {
        if let error = error as? StationError { return error }
        guard let error = error as? SystemError else { return StationError("internal_error", "\(light): \(error)") }
        let isForbidden = error.number == EACCES || error.number == EPERM
        return StationError(
            "light_unusable", "\(light) cannot be driven: \(error)",
            remedy: isForbidden || error.number == ENOENT
                ? "root gives it to the station: sudo stationctl reload" : "unplug it and plug it in again")
    }
}
