/// Bytes, rates and durations as people read them, and as configuration files write them.
package enum Quantity {
    /// `1 slot`, `3 slots`.
    package static func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

    /// `1.2 GB`, `512 B`: decimal units, three digits at most, as the labels on cards count.
    package static func bytes(_ count: UInt64) -> String {
        let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
        var value = Double(count)
        var unit = 0
        while value >= 999.5, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        return unit == 0 ? "\(count) B" : "\(threeDigits(value)) \(units[unit])"
    }

    /// `38.2 MB/s`.
    package static func rate(bytesPerSecond: Double) -> String {
        guard (0..<1e18).contains(bytesPerSecond) else { return "– MB/s" }
        return bytes(UInt64(bytesPerSecond)) + "/s"
    }

    /// `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`.
    package static func seconds(_ seconds: Double) -> String {
        guard (0..<1e10).contains(seconds) else { return "–" }
        if seconds < 9.95 { return "\(fixed(seconds, digits: 1)) s" }
        let whole = Int(seconds.rounded())
        if whole < 60 { return "\(whole) s" }
        if whole < 3600 { return "\(whole / 60) min \(twoDigits(whole % 60)) s" }
        return "\(whole / 3600) h \(twoDigits(whole % 3600 / 60)) min"
    }

    /// `5 s`, `40 s`, `110 s`, `12 min`, `1 h 35 min`: a time to come, no finer than it can be known, and rounded up.
    package static func about(seconds: Double) -> String {
        guard (0..<1e8).contains(seconds) else { return "–" }
        func up(_ step: Double) -> Int { Int((seconds / step).rounded(.up) * step) }
        if seconds <= 60 { return "\(max(5, up(5))) s" }
        if seconds <= 120 { return "\(up(10)) s" }
        if seconds <= 5400 { return "\(up(60) / 60) min" }
        let minutes = up(300) / 60
        return "\(minutes / 60) h" + (minutes % 60 == 0 ? "" : " \(twoDigits(minutes % 60)) min")
    }

    /// A number with so many digits behind the point.
    package static func fixed(_ value: Double, digits: Int) -> String {
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let scaled = (abs(value) * scale).rounded()
        guard scaled < 1e18 else { return "–" }
        let (whole, fraction) = UInt64(scaled).quotientAndRemainder(dividingBy: UInt64(scale))
        let sign = value < 0 && scaled > 0 ? "-" : ""
        guard digits > 0 else { return sign + String(whole) }
        let text = String(fraction)
        return sign + String(whole) + "." + String(repeating: "0", count: digits - text.utf8.count) + text
    }

    /// Reads `256M`, `32G`, `1048576`: the suffixes K, M, G and T count in powers of 1024, as systemd's do.
    ///
    /// Nil when the text is no such number or too large.
    package static func parseBytes(_ text: String) -> UInt64? {
        let factors: [Character: UInt64] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]
        var digits = text
        var factor: UInt64 = 1
        if let last = text.last, let known = factors[last] {
            digits.removeLast()
            factor = known
        }
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }), let value = UInt64(digits) else {
            return nil
        }
        let (product, overflow) = value.multipliedReportingOverflow(by: factor)
        return overflow ? nil : product
    }

    private static func threeDigits(_ value: Double) -> String {
        value < 9.995 ? fixed(value, digits: 2) : value < 99.95 ? fixed(value, digits: 1) : fixed(value, digits: 0)
    }

    private static func twoDigits(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
}
