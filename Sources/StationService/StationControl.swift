package import StationCore
package import StationLinux

/// What the control server asks of the station. Errors thrown are `StationError`s; they go to the client as they are.
package protocol StationControl: Sendable {
    /// All slots, now.
    func status() async -> Control.Status

    /// All slots now, then on every change. To be buffered with `bufferingNewest(1)`, so that a slow client costs nothing;
    /// the end of the stream means that the station goes down.
    func statusUpdates() async -> AsyncStream<Control.Status>

    /// - Throws: `slot_unknown`.
    func explain(slot: String) async throws -> Control.Gates

    /// The newest jobs that match, newest first.
    func history(_ query: Control.HistoryQuery) async throws -> Control.History

    func images() async throws -> Control.Images

    /// The disks with a medium that are there, then one element without a device, then each that comes.
    func deviceUpdates() async -> AsyncStream<Control.DeviceSeen>

    /// The cards that are known, the one seen last first.
    func cards(_ query: Control.CardQuery) async throws -> Control.Cards

    /// - Throws: `card_unknown`, `card_ambiguous`, `card_invalid`.
    func forgiveCard(_ reference: String, caller: UInt32) async throws -> Control.Card

    func statistics() async throws -> Control.Statistics

    /// Looks at the card in a slot.
    /// - Returns: how far it is, the last element with `inspection`. When the client hangs up, nobody listens any more: the
    ///   look is to end.
    /// - Throws: `slot_unknown`; in the stream `no_card`, `job_running`, `inspection_running`, `inspection_ended`, or the
    ///   code of a refusal.
    func inspect(slot: String) async throws -> AsyncThrowingStream<Control.InspectProgress, any Error>

    /// - Returns: what was changed; of a profile whose image has to be built, how far that is, and last what was changed.
    ///   It goes on when nobody listens.
    /// - Throws: `slot_unknown`, `image_unknown`, `profile_unknown`, `no_card_image`; in the stream what a build comes to.
    func assign(_ parameters: Control.Assign, caller: UInt32) async throws
        -> AsyncThrowingStream<Control.Changed, any Error>

    func unassign(slots: [String], caller: UInt32) async throws -> Control.Changed
    func arm(slots: [String], caller: UInt32) async throws -> Control.Changed

    /// - Parameter slots: empty means all.
    func disarm(slots: [String], caller: UInt32) async throws -> Control.Changed
    func flash(_ parameters: Control.Flash, caller: UInt32) async throws -> Control.Begun
    func cancel(slots: [String], caller: UInt32) async throws -> Control.Changed

    /// - Throws: `slot_unknown`, `slot_without_light`, `light_…` when none of its lights works.
    func identify(_ parameters: Control.Identify, caller: UInt32) async throws -> Control.Identified

    /// Reads an image from the first descriptor, and what the companions are from the others.
    /// - Returns: how far it is, the last element with `image`. When the client hangs up, nobody listens any more: the
    ///   import is to end.
    func importImage(_ parameters: Control.ImportImage, files: [Descriptor], caller: UInt32) async throws
        -> AsyncThrowingStream<Control.ImportProgress, any Error>

    /// Reads an image of the library and compares it with its SHA-256.
    /// - Returns: how far it is, the last element with `image`.
    /// - Throws: `image_unknown`; the stream throws `image_damaged`, `image_missing`.
    func verifyImage(named: String) async throws -> AsyncThrowingStream<Control.ImportProgress, any Error>

    /// - Throws: `image_unknown`, `image_assigned`.
    func removeImage(named: String, caller: UInt32) async throws

    /// The newest versions that match, by their id.
    func profiles(_ filter: Control.ProfileFilter) async throws -> Control.Profiles

    /// - Throws: `profile_unknown`.
    func profileVersions(_ profileID: String) async throws -> Control.Profiles

    /// - Throws: `profile_unknown`.
    func profile(_ query: Control.ProfileVersionQuery) async throws -> Control.ProfileContent

    /// - Parameter overlay: the archive of the profile's files.
    /// - Throws: `descriptor_missing`, `overlay_invalid`, `hash_mismatch`, and every rule that a profile breaks.
    func importProfile(_ parameters: Control.ImportProfile, overlay: Descriptor?, caller: UInt32) async throws
        -> Control.ImportedProfile

    /// - Throws: `profile_unknown`.
    func deleteProfile(_ profileID: String, caller: UInt32) async throws

    func builders() async throws -> Control.Builders

    /// - Throws: `builder_name_invalid`, `builder_unknown`.
    func builder(_ query: Control.BuilderQuery) async throws -> Control.BuilderDetails

    /// Has an Image Builder fetched and verified. It goes on when nobody listens.
    /// - Returns: how far it is, the last element with `builder`.
    func ensureBuilder(_ query: Control.BuilderQuery, caller: UInt32) async throws
        -> AsyncThrowingStream<Control.BuildProgress, any Error>

    func pruneBuilders(_ parameters: Control.Prune, caller: UInt32) async throws -> Control.Pruned

    /// Builds a profile's image, or finds it. It goes on when nobody listens.
    /// - Returns: how far it is and what it prints, the last element with `build`.
    /// - Throws: `profile_unknown`.
    func build(_ parameters: Control.Build, caller: UInt32) async throws
        -> AsyncThrowingStream<Control.BuildProgress, any Error>

    /// The newest builds that match, newest first.
    func builds(_ filter: Control.BuildFilter) async throws -> Control.Builds

    /// - Throws: `build_unknown`, `build_ambiguous`.
    func build(_ query: Control.BuildQuery) async throws -> Control.BuildDetails

    /// - Throws: `build_unknown`, `log_missing`.
    func buildLog(_ query: Control.BuildQuery) async throws -> AsyncThrowingStream<Control.BuildLogPart, any Error>

    /// - Throws: `build_unknown`, `no_build`.
    func cancelBuild(_ query: Control.BuildQuery) async throws

    /// Takes away what a build made; its record stays.
    /// - Throws: `build_unknown`, `image_assigned`, `build_running`.
    func removeBuild(_ query: Control.BuildQuery, caller: UInt32) async throws

    /// Reads slot files and configuration anew.
    func reload(caller: UInt32) async throws

    /// Writes a snapshot of the records to an empty file.
    /// - Throws: `descriptor_unsuitable`, and what the store throws.
    func snapshotStore(into file: Descriptor) async throws -> StoreSummary
}
