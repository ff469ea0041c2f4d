import Foundation
import StationCore
import StationLinux
import StationService
import Testing

@Suite("light room: what slots say, on lights")
struct LightRoomTests {
    private static let one = SlotLights(light: .led("a"))
    private static let two = SlotLights(light: .led("a"), failureLight: .led("b"))

    @Test("the kernel does what it can: timer for even blinking, pattern for the rest, brightness for steady and dark")
    func kernelTriggers() async throws {
        let bench = try LightBench()
        try bench.led("a", triggers: "[none] timer heartbeat pattern", most: 255)
        try bench.givePattern("a")
        try bench.show((Self.one, .busy))
        #expect(await bench.says("leds/a/trigger", "timer"))
        try bench.led("a", triggers: "none [timer] pattern", most: 255)
        try bench.show((Self.one, .failed))
        #expect(await bench.says("leds/a/pattern", "255 150 255 0 0 200 0 0 255 150 255 0 0 1200 0 0"))
        #expect(bench.read("leds/a/trigger") == "pattern")
        try bench.show((Self.one, .passed))
        #expect(await bench.says("leds/a/brightness", "255"))
        try bench.show((Self.one, .dark))
        #expect(await bench.says("leds/a/brightness", "0"))
        #expect(bench.problems.isEmpty)
        await bench.end()
    }

    @Test("from pattern to pattern the trigger stays, so that udev need not give access again")
    func patternToPattern() async throws {
        let bench = try LightBench()
        try bench.led("a", triggers: "[none] pattern")
        try bench.givePattern("a")
        try bench.show((Self.one, .ready))
        #expect(await bench.says("leds/a/pattern", "1 100 1 0 0 2900 0 0"))
        try bench.led("a", triggers: "untouched [pattern]")
        try bench.show((Self.one, .busy))
        #expect(await bench.says("leds/a/pattern", "1 500 1 0 0 500 0 0"))
        #expect(bench.read("leds/a/trigger") == "untouched [pattern]")
        await bench.end()
    }

    @Test("an attribute that comes late is waited for, by event; meanwhile nothing blinks from here")
    func lateAttribute() async throws {
        let bench = try LightBench()
        try bench.led("a", triggers: "[none] pattern")
        try bench.show((Self.one, .help))
        #expect(await bench.says("leds/a/trigger", "pattern"))
        bench.room.touched(.led("a", isNew: false))
        try bench.givePattern("a")
        bench.room.touched(.led("b", isNew: false))
        #expect(bench.read("leds/a/pattern") == "")
        bench.room.touched(.led("a", isNew: false))
        #expect(await bench.says("leds/a/pattern", "1 150 1 0 0 200 0 0 1 150 1 0 0 200 0 0 1 150 1 0 0 1200 0 0"))
        #expect(bench.read("leds/a/brightness") == "0" && bench.problems.isEmpty)
        await bench.end()
    }

    @Test("an attribute that never comes is done without, after a while")
    func missingAttribute() async throws {
        let bench = try LightBench(patience: 0.05)
        try bench.led("a", triggers: "[none] pattern")
        try bench.show((Self.one, .help))
        #expect(await bench.says("leds/a/trigger", "pattern"))
        #expect(await bench.says("leds/a/brightness", "1"))
        #expect(await bench.says("leds/a/brightness", "0"))
        // From here on without asking again.
        try bench.led("a", triggers: "untouched pattern")
        try bench.show((Self.one, .ready))
        #expect(await bench.says("leds/a/brightness", "1"))
        #expect(bench.read("leds/a/trigger") == "untouched pattern")
        await bench.end()
    }

    @Test("where the kernel has no triggers the light blinks all the same, and stops when something else is to be said")
    func fromHere() async throws {
        let bench = try LightBench()
        try bench.led("a")
        try bench.show((Self.one, .busy))
        for _ in 0..<2 {
            #expect(await bench.says("leds/a/brightness", "1"))
            #expect(await bench.says("leds/a/brightness", "0"))
        }
        try bench.show((Self.one, .passed))
        #expect(await bench.says("leds/a/brightness", "1"))
        #expect(bench.read("leds/a/trigger") == "[none] mmc0")
        await bench.end()
    }

    @Test("of two lights green says what is well and red what is not", arguments: StationCore.Signal.allCases)
    func twoLights(signal: StationCore.Signal) async throws {
        let bench = try LightBench()
        for name in ["a", "b"] {
            try bench.led(name, triggers: "[none] timer pattern", lit: true)
            try bench.givePattern(name)
        }
        // Whatever they showed before.
        try bench.show((Self.two, signal == .passed ? .failed : .passed))
        try bench.show((Self.two, signal))
        let isGreen = [.ready, .busy, .passed].contains(signal)
        #expect(await bench.says("leds/\(isGreen ? "b" : "a")/brightness", "0"))
        switch signal {
        case .dark: #expect(await bench.says("leds/b/brightness", "0"))
        case .ready: #expect(await bench.says("leds/a/pattern", "1 100 1 0 0 2900 0 0"))
        case .busy: #expect(await bench.says("leds/a/trigger", "timer"))
        case .passed: #expect(await bench.says("leds/a/brightness", "1"))
        case .failed: #expect(await bench.says("leds/b/brightness", "1"))
        case .help: #expect(await eventually { bench.read("leds/b/pattern").hasPrefix("1 150") })
        }
        await bench.end()
    }

    @Test("a GPIO line is found by its chip's label, whatever its number is in this boot")
    func gpio() async throws {
        let bench = try LightBench()
        try bench.chip("gpiochip0", label: "other", base: 0)
        try bench.chip("gpiochip504", label: "chip:00", base: 504)
        try bench.line(507)
        let lights = SlotLights(light: .gpio(chip: "chip:00", offset: 3, isActiveLow: false))
        try bench.show((lights, .passed))
        #expect(await bench.says("gpio/gpio507/value", "1"))
        try bench.show((lights, .busy))
        #expect(await bench.says("gpio/gpio507/value", "0"))
        #expect(await bench.says("gpio/gpio507/value", "1"))
        try bench.show((lights, .dark))
        #expect(await bench.says("gpio/gpio507/value", "0"))
        #expect(bench.problems.isEmpty)
        await bench.end()
    }

    @Test("a GPIO light that cannot be found is a problem, and works when it turns up")
    func gpioProblems() async throws {
        let bench = try LightBench()
        let lights = SlotLights(light: .gpio(chip: "c", offset: 3, isActiveLow: false))
        try bench.show((lights, .passed))
        #expect(await eventually { bench.problems.map { $0?.code } == ["light_missing"] })
        try bench.chip("gpiochip0", label: "c", base: 0, count: 3)
        bench.room.touched(.gpio)
        #expect(await eventually { bench.problems.last??.message == "the GPIO chip c has no line 3" })
        try bench.chip("gpiochip0", label: "c", base: 0)
        bench.room.touched(.gpio)
        // Not exported: that is root's to do.
        #expect(await eventually { bench.problems.last??.code == "light_unusable" })
        try bench.chip("gpiochip9", label: "c", base: 9)
        bench.room.touched(.gpio)
        #expect(await eventually { bench.problems.last??.code == "light_ambiguous" })
        try FileManager.default.removeItem(atPath: "\(bench.directory)/gpio/gpiochip9")
        try bench.line(3)
        bench.room.touched(.gpio)
        #expect(await bench.says("gpio/gpio3/value", "1"))
        #expect(await eventually { bench.problems.last == .some(nil) && bench.room.problems.isEmpty })
        await bench.end()
    }

    @Test("an LED that is unplugged is told once, and driven again when it is back")
    func unplugged() async throws {
        let bench = try LightBench()
        try bench.led("a")
        try bench.show((Self.one, .passed))
        #expect(await bench.says("leds/a/brightness", "1"))
        try bench.unplug("a")
        bench.room.touched(.led("a", isNew: true))
        #expect(await eventually { bench.room.problems.map(\.code) == ["light_missing"] })
        bench.room.touched(.led("a", isNew: true))
        try bench.show((Self.one, .dark))
        try bench.show((Self.one, .passed))
        try bench.led("a")
        bench.room.touched(.led("a", isNew: true))
        #expect(await bench.says("leds/a/brightness", "1"))
        #expect(await eventually { bench.room.problems.isEmpty })
        #expect(bench.problems.map { $0?.code } == ["light_missing", nil])
        await bench.end()
    }

    @Test("everything is driven anew when events were lost")
    func lost() async throws {
        let bench = try LightBench()
        try bench.led("a")
        try bench.show((Self.one, .passed))
        #expect(await bench.says("leds/a/brightness", "1"))
        try bench.led("a")
        bench.room.touched(.lost)
        #expect(await bench.says("leds/a/brightness", "1"))
        await bench.end()
    }

    @Test("a lamp that two slots claim is dark for both")
    func contested() async throws {
        let bench = try LightBench()
        try bench.led("a", lit: true)
        try bench.led("b")
        try bench.show((Self.one, .passed), (SlotLights(light: .led("b"), failureLight: .led("a")), .passed))
        #expect(await bench.says("leds/b/brightness", "1"))
        #expect(await bench.says("leds/a/brightness", "0"))
        // As soon as one of them gives it up, it speaks for the other.
        try bench.show((Self.one, .passed), (SlotLights(light: .led("b")), .passed))
        #expect(await bench.says("leds/a/brightness", "1"))
        await bench.end()
    }

    @Test("a light that a slot gives up goes dark, and its problem with it")
    func givenUp() async throws {
        let bench = try LightBench()
        try bench.led("a")
        try bench.show((Self.two, .passed))
        #expect(await bench.says("leds/a/brightness", "1"))
        #expect(await eventually { bench.room.problems.map(\.code) == ["light_missing"] })
        try bench.show((SlotLights(), .passed))
        #expect(await bench.says("leds/a/brightness", "0"))
        #expect(bench.room.problems.isEmpty)
        await bench.end()
    }

    @Test("identify blinks for its time, then the truth is told again, also one that came meanwhile")
    func identify() async throws {
        let bench = try LightBench()
        for name in ["a", "b"] {
            try bench.led(name, triggers: "[none] pattern")
            try bench.givePattern(name)
        }
        try bench.show((Self.two, .dark))
        let slot = try SlotName("slot1")
        #expect(try await bench.room.identify(slot, seconds: 0.3) == [.led("a"), .led("b")])
        #expect(await bench.says("leds/a/pattern", "1 100 1 0 0 100 0 0"))
        #expect(await bench.says("leds/b/pattern", "0 100 0 0 1 100 1 0"))
        try bench.show((Self.two, .passed))
        #expect(await bench.says("leds/a/brightness", "1"))
        #expect(await bench.says("leds/b/brightness", "0"))
        await bench.end()
    }

    @Test("who cannot be identified is told why")
    func identifyNothing() async throws {
        let bench = try LightBench()
        try bench.show((SlotLights(), .ready), (SlotLights(light: .led("none")), .ready))
        #expect(await eventually { bench.room.problems.count == 1 })
        for (name, code) in [("slot1", "slot_without_light"), ("slot2", "light_missing"), ("x", "slot_without_light")] {
            let error = await #expect(throws: StationError.self) {
                try await bench.room.identify(SlotName(name), seconds: 1)
            }
            #expect(error?.code == code)
        }
        await bench.end()
    }

    @Test("the end is dark")
    func end() async throws {
        let bench = try LightBench()
        try bench.led("a", triggers: "[none] timer")
        try bench.led("b")
        try bench.show((Self.one, .busy), (SlotLights(light: .led("b")), .passed))
        #expect(await bench.says("leds/b/brightness", "1"))
        #expect(await bench.says("leds/a/trigger", "timer"))
        try bench.led("a", lit: true)
        await bench.room.end()
        #expect(bench.read("leds/a/brightness") == "0" && bench.read("leds/b/brightness") == "0")
        await bench.end()
    }
}

@Suite("light access: what root does for the daemon")
struct LightAccessTests {
    /// A user that is nobody else's, so that what it owns was given to it. Needs root, as the whole suite does for loops.
    private static let userID: UInt32 = 12_345

    private func slots(_ lights: SlotLights...) throws -> [SlotDeclaration] {
        lights.enumerated().map { index, lights in
            var slot = Sample.declaration("slot\(index + 1)")
            slot.lights = lights
            return slot
        }
    }

    private func owner(_ bench: LightBench, _ path: String) throws -> UInt32 {
        try FileStatus(of: "\(bench.directory)/\(path)").ownerID
    }

    @Test("only LEDs that a slot names are given away, and only what the daemon writes of them")
    func leds() async throws {
        let bench = try LightBench()
        for name in ["a", "b"] {
            try bench.led(name)
            try bench.givePattern(name)
        }
        let access = LightAccess(tree: bench.tree, userID: Self.userID)
        #expect(access.prepare(try slots(SlotLights(light: .led("a")))).isEmpty)
        for attribute in ["brightness", "trigger", "pattern"] {
            #expect(try owner(bench, "leds/a/\(attribute)") == Self.userID)
            #expect(try owner(bench, "leds/b/\(attribute)") == 0)
        }
        #expect(try owner(bench, "leds/a/max_brightness") == 0)
        #expect(access.grant(led: "b", slots: try slots(SlotLights(light: .led("a")))).isEmpty)
        #expect(try owner(bench, "leds/b/brightness") == 0)
        #expect(bench.tree.leds(ownedBy: Self.userID) == ["a"])
        await bench.end()
    }

    @Test("what no slot names any more is dark, and root's again")
    func takenBack() async throws {
        let bench = try LightBench()
        try bench.led("a", lit: true)
        try bench.chip("gpiochip0", label: "c", base: 0)
        try bench.line(3)
        let access = LightAccess(tree: bench.tree, userID: Self.userID)
        let line = Light.gpio(chip: "c", offset: 3, isActiveLow: false)
        #expect(access.prepare(try slots(SlotLights(light: .led("a"), failureLight: line))).isEmpty)
        try LightTree.write("1", to: bench.tree.path(line: 3, "value"))
        #expect(access.prepare([]).isEmpty)
        #expect(bench.read("leds/a/brightness") == "0")
        #expect(try owner(bench, "leds/a/brightness") == 0)
        #expect(bench.read("gpio/gpio3/value") == "0" && bench.read("gpio/unexport") == "3")
        await bench.end()
    }

    @Test("a line is made an output that begins dark, whichever way round", arguments: [false, true])
    func line(isActiveLow: Bool) async throws {
        let bench = try LightBench()
        try bench.chip("gpiochip0", label: "c", base: 40)
        try bench.line(43)
        let access = LightAccess(tree: bench.tree, userID: Self.userID)
        let light = Light.gpio(chip: "c", offset: 3, isActiveLow: isActiveLow)
        #expect(access.prepare(try slots(SlotLights(light: light))).isEmpty)
        #expect(bench.read("gpio/gpio43/direction") == (isActiveLow ? "high" : "low"))
        #expect(bench.read("gpio/gpio43/active_low") == (isActiveLow ? "1" : "0"))
        #expect(try owner(bench, "gpio/gpio43/value") == Self.userID)
        #expect(bench.read("gpio/export") == "")
        await bench.end()
    }

    @Test("a line that is lit stays so when all is prepared once more")
    func again() async throws {
        let bench = try LightBench()
        try bench.chip("gpiochip0", label: "c", base: 40)
        try bench.line(43)
        for (attribute, text) in [("direction", "out"), ("value", "1")] {
            try LightTree.write(text, to: bench.tree.path(line: 43, attribute))
        }
        let access = LightAccess(tree: bench.tree, userID: Self.userID)
        let light = Light.gpio(chip: "c", offset: 3, isActiveLow: false)
        #expect(access.prepare(try slots(SlotLights(light: light))).isEmpty)
        #expect(bench.read("gpio/gpio43/direction") == "out" && bench.read("gpio/gpio43/value") == "1")
        await bench.end()
    }

    @Test("a line that is not exported is exported by its number; what is not there is said, and the rest is prepared")
    func missing() async throws {
        let bench = try LightBench()
        try bench.chip("gpiochip0", label: "c", base: 40)
        try bench.line(43)
        try bench.led("a")
        let access = LightAccess(tree: bench.tree, userID: Self.userID)
        let problems = access.prepare(
            try slots(
                SlotLights(light: .gpio(chip: "c", offset: 4, isActiveLow: false)),
                SlotLights(light: .gpio(chip: "none", offset: 4, isActiveLow: false)), SlotLights(light: .led("a")),
                SlotLights(light: .led("none"))))
        // A tree of files exports nothing, so the line stays away.
        #expect(problems.map(\.code) == ["light_unusable", "light_missing"])
        #expect(bench.read("gpio/export") == "44")
        #expect(try owner(bench, "leds/a/brightness") == Self.userID)
        await bench.end()
    }

    @Test("all lights that belong to a user are darkened, and no others")
    func darken() async throws {
        let bench = try LightBench()
        for name in ["a", "b"] { try bench.led(name, lit: true) }
        try bench.line(3)
        try LightTree.write("1", to: bench.tree.path(line: 3, "value"))
        for path in ["leds/a/brightness", "gpio/gpio3/value"] {
            #expect(chown("\(bench.directory)/\(path)", Self.userID, gid_t.max) == 0)
        }
        #expect(bench.tree.darken(ownedBy: Self.userID).isEmpty)
        #expect(bench.read("leds/a/brightness") == "0" && bench.read("leds/b/brightness") == "1")
        #expect(bench.read("gpio/gpio3/value") == "0")
        await bench.end()
    }
}
