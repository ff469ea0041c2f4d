/// A day of the Gregorian calendar, by universal time.
package struct CalendarDay: Equatable, Sendable, CustomStringConvertible {
    package var year: Int
    package var month: Int
    package var day: Int

    /// Nil for a time that no record can have.
    /// - Parameter seconds: since 1970.
    package init?(secondsSince1970 seconds: Double) {
        guard seconds.isFinite, abs(seconds) < 1e11 else { return nil }
        // Years begin in March here, so that the leap day is the last; 719468 days lie between 0000-03-01 and 1970-01-01.
        let days = Int((seconds / 86400).rounded(.down)) + 719_468
        let era = (days >= 0 ? days : days - 146_096) / 146_097
        let dayOfEra = days - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
        month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]

    /// `3 March 2026`.
    package var description: String { "\(day) \(Self.months[month - 1]) \(year)" }
}
