import Glibc
import StationCore
import StationLinux

/// Wall-clock times as the user's time zone shows them, and as people write them.
enum LocalTime {
    /// `2025-03-09 14:05:09`, in local time.
    static func text(_ secondsSince1970: Double) -> String { format(secondsSince1970, "%Y-%m-%d %H:%M:%S") }

    /// `2025-03-09 14:05`, in local time.
    static func minute(_ secondsSince1970: Double) -> String { format(secondsSince1970, "%Y-%m-%d %H:%M") }
    /// `3 March 2026`, in local time.
    static func day(_ secondsSince1970: Double) -> String { format(secondsSince1970, "%-d %B %Y") }

    /// `14:05:09`, in local time.
    static func clock(_ secondsSince1970: Double) -> String { format(secondsSince1970, "%H:%M:%S") }

    /// Until a clock that shows seconds shows another one, in seconds.
    static var untilNextSecond: Double {
        let now = SystemClock.wallSeconds()
        return now.rounded(.down) + 1.005 - now
    }

    /// `2025-03-09T14:05:09+01:00`, as ISO 8601 and RFC 3339 have it.
    static func iso8601(_ secondsSince1970: Double) -> String {
        let text = format(secondsSince1970, "%Y-%m-%dT%H:%M:%S%z")
        return text.count > 5 ? text.dropLast(2) + ":" + text.suffix(2) : text
    }

    /// `2025-03-09T13:05:09Z`, for other programs.
    static func universal(_ secondsSince1970: Double) -> String {
        format(secondsSince1970, "%Y-%m-%dT%H:%M:%SZ", isLocal: false)
    }

    private static func format(_ seconds: Double, _ format: String, isLocal: Bool = true) -> String {
        guard seconds.isFinite, abs(seconds) < 1e11 else { return "–" }
        var time = time_t(seconds)
        var universal = tm()
        if !isLocal { gmtime_r(&time, &universal) }
        let parts = isLocal ? local(seconds) : universal
        var buffer = [CChar](repeating: 0, count: 64)
        let count = withUnsafePointer(to: parts) { strftime(&buffer, buffer.count, format, $0) }
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func local(_ seconds: Double) -> tm {
        var time = time_t(seconds)
        var parts = tm()
        localtime_r(&time, &parts)
        return parts
    }

    /// What `parse` reads, for the help.
    static let forms =
        "2h, 90m, 7d, '3 days ago', today, yesterday, monday, 14:05, 2026-11-01, '2026-11-01 14:05', @SECONDS"

    /// Reads `90m`, `2h`, `3 days ago` (so long ago), `today`, `yesterday`, `monday` (their beginning), `14:05` (today),
    /// `2025-03-09`, `2025-03-09 14:05`, `@1741521600`.
    /// - Returns: seconds since 1970; nil when it is none of these.
    static func parse(_ text: String, now: Double) -> Double? {
        let text = text.trimmed.lowercased()
        if text == "now" { return now }
        if text == "today" { return midnight(daysAgo: 0, now: now) }
        if text == "yesterday" { return midnight(daysAgo: 1, now: now) }
        if let weekday = weekday(text) {
            let today = Int(local(now).tm_wday)
            return midnight(daysAgo: (today - weekday + 7) % 7, now: now)
        }
        if text.hasPrefix("@") { return Double(text.dropFirst()).flatMap { $0.isFinite ? $0 : nil } }
        if let seconds = age(text) { return now - seconds }
        return text.contains("-") ? date(text) : date("\(format(now, "%Y-%m-%d"))t\(text)")
    }

    private static func midnight(daysAgo: Int, now: Double) -> Double? {
        var parts = local(now)
        (parts.tm_hour, parts.tm_min, parts.tm_sec, parts.tm_isdst) = (0, 0, 0, -1)
        parts.tm_mday -= Int32(daysAgo)
        return seconds(&parts)
    }

    private static func weekday(_ text: String) -> Int? {
        let names = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
        return names.firstIndex { $0 == text || (text.count == 3 && $0.hasPrefix(text)) }
    }

    /// `2h`, `2 hours`, `2 hours ago`, in seconds.
    private static func age(_ text: String) -> Double? {
        let text = text.hasSuffix(" ago") ? String(text.dropLast(4)) : text
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let unit = String(text.dropFirst(digits.count)).trimmed
        let units: [(names: [String], seconds: Double)] = [
            (["s", "sec", "second", "seconds"], 1), (["m", "min", "minute", "minutes"], 60),
            (["h", "hour", "hours"], 3600), (["d", "day", "days"], 86400), (["w", "week", "weeks"], 604800),
        ]
        guard let count = UInt32(digits), let found = units.first(where: { $0.names.contains(unit) }) else {
            return nil
        }
        return Double(count) * found.seconds
    }

    /// Reads `2025-03-09`, `2025-03-09 14:05` and `2025-03-09t14:05:09`.
    private static func date(_ text: String) -> Double? {
        let halves = text.split(whereSeparator: { $0 == " " || $0 == "t" })
        guard (1...2).contains(halves.count), halves.count == 2 || !text.hasSuffix("t") else { return nil }
        let day = halves[0].split(separator: "-").map { Int32($0) }
        let time = halves.count == 2 ? halves[1].split(separator: ":").map { Int32($0) } : [0, 0]
        guard day.count == 3, (2...3).contains(time.count), let year = day[0], let month = day[1], let number = day[2],
            let hour = time[0], let minute = time[1], let second = time.count == 3 ? time[2] : 0,
            (1970...9999).contains(year), (1...12).contains(month), (1...31).contains(number), (0...23).contains(hour),
            (0...59).contains(minute), (0...60).contains(second)
        else { return nil }
        var parts = tm()
        parts.tm_year = year - 1900
        parts.tm_mon = month - 1
        parts.tm_mday = number
        parts.tm_hour = hour
        parts.tm_min = minute
        parts.tm_sec = second
        // Whether it is summer time then, the time zone knows.
        parts.tm_isdst = -1
        let result = seconds(&parts)
        // The 31st of February is no day.
        return parts.tm_mday == number ? result : nil
    }

    private static func seconds(_ parts: inout tm) -> Double? {
        let seconds = mktime(&parts)
        return seconds == -1 ? nil : Double(seconds)
    }
}
