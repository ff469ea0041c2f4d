/// One light that root gave to a slot, as a slot file names it: `led:NAME` or `gpio:CHIP:OFFSET[:active-low]`.
package enum Light: Hashable, TextCoded, Sendable {
    /// An LED of `/sys/class/leds`, by its name there.
    case led(String)
    /// A line of a GPIO chip, by the chip's label and the line's offset on it: numbers of lines and chips are dealt anew at
    /// each boot.
    case gpio(chip: String, offset: Int, isActiveLow: Bool)

    /// Lines of one chip that can be named.
    private static let lineLimit = 1024

    /// Reads what a slot file says. The name of an LED becomes part of a path, so nothing is let in that leads elsewhere.
    /// - Throws: `light_invalid`.
    package init(text: String) throws(StationError) {
        guard let colon = text.firstIndex(of: ":") else {
            throw Self.invalid(text, "begins with neither led: nor gpio:")
        }
        let rest = String(text[text.index(after: colon)...])
        switch text[..<colon] {
        case "led":
            guard Self.isName(rest), !rest.contains("/"), !rest.hasPrefix(".") else {
                throw Self.invalid(text, "names no LED")
            }
            self = .led(rest)
        case "gpio":
            // Labels hold colons themselves (INT33FC:00), so it is read from its end.
            var parts = rest.split(separator: ":", omittingEmptySubsequences: false)
            let isActiveLow = parts.last == "active-low"
            if isActiveLow { parts.removeLast() }
            guard parts.count >= 2, let digits = parts.popLast(), (1...4).contains(digits.utf8.count),
                digits.utf8.allSatisfy({ (48...57).contains($0) }), let offset = Int(digits), offset < Self.lineLimit
            else { throw Self.invalid(text, "names no line of a chip by its offset") }
            let chip = parts.joined(separator: ":")
            guard Self.isName(chip) else { throw Self.invalid(text, "names no GPIO chip by its label") }
            self = .gpio(chip: chip, offset: offset, isActiveLow: isActiveLow)
        default: throw Self.invalid(text, "begins with neither led: nor gpio:")
        }
    }

    package init(coded text: String) throws(StationError) { try self.init(text: text) }

    package var description: String {
        switch self {
        case .led(let name): "led:\(name)"
        case .gpio(let chip, let offset, let isActiveLow):
            "gpio:\(chip):\(offset)" + (isActiveLow ? ":active-low" : "")
        }
    }

    /// What two slots cannot both have: the lamp itself, whichever way round it is wired.
    package var lamp: Light {
        guard case .gpio(let chip, let offset, _) = self else { return self }
        return .gpio(chip: chip, offset: offset, isActiveLow: false)
    }

    /// 1 to 63 printable characters of ASCII without white space at the ends: what the kernel's names of LEDs and labels of
    /// chips have room for. A backslash at the end of a line of a slot file would join it with the next.
    private static func isName(_ text: String) -> Bool {
        (1...63).contains(text.utf8.count) && text == text.trimmed
            && text.utf8.allSatisfy { (32...126).contains($0) && $0 != UInt8(ascii: "\\") }
    }

    private static func invalid(_ text: String, _ problem: String) -> StationError {
        StationError(
            "light_invalid", "“\(text.printable(limit: 80))” \(problem)",
            remedy: "write led:NAME (see ls /sys/class/leds) or gpio:CHIPLABEL:OFFSET, with :active-low where 0 is lit")
    }
}

/// The lights of one slot.
package struct SlotLights: Hashable, Codable, Sendable {
    /// The only one, or the green one of two.
    package var light: Light?
    /// The red one, where there are two.
    package var failureLight: Light?

    package init(light: Light? = nil, failureLight: Light? = nil) {
        self.light = light
        self.failureLight = failureLight
    }

    package var all: [Light] { [light, failureLight].compactMap { $0 } }

    /// What each light is to show.
    package func patterns(_ signal: Signal) -> [Light: LightPattern] {
        pairs(LightPattern.of(signal, of: .only), LightPattern.of(signal, of: .green), .of(signal, of: .red))
    }

    /// What each light is to show for somebody who looks for the slot: fast blinking, in turns where there are two.
    package var identifying: [Light: LightPattern] { pairs(.identify, .identify, .identifyInTurn) }

    private func pairs(_ only: LightPattern, _ green: LightPattern, _ red: LightPattern) -> [Light: LightPattern] {
        guard let light else { return [:] }
        guard let failureLight else { return [light: only] }
        return [light: green, failureLight: red]
    }
}

extension SlotLights {
    /// Lamps that more than one slot claims. Such a light tells nothing about any of them, so it stays dark.
    package static func contestedLamps(_ claims: some Sequence<SlotLights>) -> Set<Light> {
        var seen: Set<Light> = []
        var twice: Set<Light> = []
        for lamp in claims.flatMap({ Set($0.all.map(\.lamp)) }) where !seen.insert(lamp).inserted {
            twice.insert(lamp)
        }
        return twice
    }

    /// One problem for each contested lamp: `light_claimed_twice`.
    package static func problems(_ slots: [SlotDeclaration]) -> [StationError] {
        contestedLamps(slots.map(\.lights)).sorted { $0.description < $1.description }.map { lamp in
            let claims = slots.filter { $0.lights.all.contains { $0.lamp == lamp } }.map(\.name.text)
            return StationError(
                "light_claimed_twice",
                "\(claims.joined(separator: " and ")) claim one light, \(lamp), which stays dark",
                remedy: "give each slot a light of its own in its slot file, then: sudo stationctl reload")
        }
    }
}
