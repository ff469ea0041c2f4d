import FoundationEssentials
import StationCore
import StationTestSupport
import Testing

@Suite("Lights in slot files")
struct LightTests {
    @Test(
        "a light has one spelling",
        arguments: [
            ("led:green:slot1", Light.led("green:slot1")), ("led:input3::capslock", .led("input3::capslock")),
            ("led:ACT", .led("ACT")), ("led:a b", .led("a b")),
            ("gpio:pinctrl-bcm2711:17", .gpio(chip: "pinctrl-bcm2711", offset: 17, isActiveLow: false)),
            ("gpio:INT33FC:00:3:active-low", .gpio(chip: "INT33FC:00", offset: 3, isActiveLow: true)),
            ("gpio:active-low:0", .gpio(chip: "active-low", offset: 0, isActiveLow: false)),
            ("gpio:x:1023", .gpio(chip: "x", offset: 1023, isActiveLow: false)),
        ])
    func spelling(text: String, light: Light) throws {
        #expect(try Light(text: text) == light)
        #expect(light.description == text)
        #expect(try JSONDecoder().decode([Light].self, from: JSONEncoder().encode([light])) == [light])
    }

    @Test(
        "nothing else is a light, and least of all a way to another file",
        arguments: [
            "", "led", "led:", "led:.", "led:..", "led:../../block/sda", "led:a/b", "led:.hidden", "led:/dev/sda",
            "led:a\0b", "led:a\nb", "led: a", "led:ä", "led:a\\", "led:\u{202E}",
            "led:" + String(repeating: "x", count: 64), "LED:a", "gpio:", "gpio:17", "gpio::17", "gpio:x:", "gpio:x:-1",
            "gpio:x:1024", "gpio:x:+1", "gpio:x:1x", "gpio:x:00017", "gpio:x:17:active-high", "gpio:x:active-low",
            "gpio:x\n:1", "gpio:é:1", "pwm:0", "green",
        ])
    func nonsense(text: String) {
        let error = #expect(throws: StationError.self) { try Light(text: text) }
        #expect(error?.code == "light_invalid")
        #expect(error?.remedy.contains("led:NAME") == true)
    }

    private static let head = "[Slot]\nPlace=usb 480 port 2 lun 0 at pci0000:00/0000:00:04.0\nReader=0bda:0326 luns 1\n"

    private func declaration(_ text: String) throws -> SlotDeclaration {
        try SlotDeclaration(name: SlotName("slot1"), fileName: "slot1.slot", text: Self.head + text)
    }

    @Test("a slot file names none, one or two, and is written as it was read")
    func slotFile() throws {
        for text in ["", "Light=led:a\n", "Light=led:a\nFailureLight=gpio:b:1:active-low\n"] {
            let slot = try declaration(text)
            #expect(slot.lights.all.count == text.split(separator: "\n").count)
            let again = try SlotDeclaration(name: slot.name, fileName: "x", text: slot.fileText)
            #expect(again == slot)
        }
    }

    @Test(
        "a slot file that cannot be meant so is refused, with file, line and key",
        arguments: [
            ("FailureLight=led:a\n", "FailureLight="), ("Light=led:a\nFailureLight=led:a\n", "one light"),
            ("Light=gpio:a:1\nFailureLight=gpio:a:1:active-low\n", "one light"),
            ("Light=led:a/b\n", "slot1.slot:4: Light="), ("Light=\n", "slot1.slot:4: Light="),
            ("Light=led:a\nFailureLight=x\n", "slot1.slot:5: FailureLight="),
        ])
    func badSlotFile(text: String, naming: String) {
        let error = #expect(throws: StationError.self) { try declaration(text) }
        #expect(error?.code == "light_invalid")
        #expect(error?.message.contains(naming) == true, "\(error?.message ?? "")")
    }

    @Test("a lamp that two slots claim is a problem that names both")
    func contested() throws {
        var slots = try [Samples.slot("slot1"), Samples.slot("slot2"), Samples.slot("slot3")]
        slots[0].lights = SlotLights(light: .led("a"), failureLight: .gpio(chip: "c", offset: 1, isActiveLow: true))
        slots[1].lights = SlotLights(light: .gpio(chip: "c", offset: 1, isActiveLow: false))
        slots[2].lights = SlotLights(light: .led("b"))
        let problems = SlotLights.problems(slots)
        #expect(problems.map(\.code) == ["light_claimed_twice"])
        #expect(problems.first?.message == "slot1 and slot2 claim one light, gpio:c:1, which stays dark")
        slots[1].lights = SlotLights()
        #expect(SlotLights.problems(slots).isEmpty)
    }

    // MARK: Patterns

    @Test("with one light the six meanings look unlike each other; with two, green is never lit where red is")
    func patterns() {
        let one = Signal.allCases.map { LightPattern.of($0, of: .only) }
        for (index, pattern) in one.enumerated() { #expect(!one[..<index].contains(pattern)) }
        #expect(!one.contains(.identify) && !one.contains(.identifyInTurn))
        for signal in Signal.allCases {
            let green = LightPattern.of(signal, of: .green)
            let red = LightPattern.of(signal, of: .red)
            #expect(green == .dark || red == .dark, "\(signal)")
            #expect((green == .dark && red == .dark) == (signal == .dark), "\(signal)")
        }
        #expect(LightPattern.of(.passed, of: .only) == .steady && LightPattern.of(.passed, of: .green) == .steady)
        #expect(LightPattern.of(.failed, of: .red) == .steady)
    }

    @Test(
        "only a pass is lit all the time on a light that can say passed", arguments: Signal.allCases,
        [LightPattern.Role.only, .green])
    func steady(signal: Signal, role: LightPattern.Role) {
        #expect((LightPattern.of(signal, of: role) == .steady) == (signal == .passed))
    }

    @Test("patterns take as long as they are said to")
    func durations() {
        func period(_ pattern: LightPattern) -> Int? {
            guard case .steps(let steps) = pattern else { return nil }
            return steps.map(\.milliseconds).reduce(0, +)
        }
        func flashes(_ pattern: LightPattern) -> Int? {
            guard case .steps(let steps) = pattern else { return nil }
            return steps.count(where: \.isLit)
        }
        #expect(period(.wink) == 3000 && flashes(.wink) == 1)
        #expect(period(.even) == 1000 && flashes(.even) == 1)
        #expect(flashes(.doubleFlash) == 2 && flashes(.tripleFlash) == 3)
        #expect(period(.identify) == 200)
    }

    @Test("the kernel is told each step with one of no length behind it, so that it does not fade")
    func kernel() {
        #expect(LightPattern.wink.kernelPattern(brightness: 255) == "255 100 255 0 0 2900 0 0")
        #expect(
            LightPattern.doubleFlash.kernelPattern(brightness: 1)
                == "1 150 1 0 0 200 0 0 1 150 1 0 0 1200 0 0")
        #expect(LightPattern.dark.kernelPattern(brightness: 1) == nil)
        #expect(LightPattern.steady.kernelPattern(brightness: 1) == nil)
    }
}
