import StationCore

/// How stationctl ends.
enum ExitCode: Int32, CaseIterable {
    case success = 0
    /// Anything that has no code of its own.
    case failure = 1
    /// The command line cannot be understood.
    case usage = 2
    /// No station answers, or it hung up.
    case unreachable = 3
    case notPermitted = 4
    /// No such slot, image, profile, card, job, device, file, Image Builder, build or artifact.
    case notFound = 5
    /// Not possible in the present state.
    case refused = 6
    /// `flash --follow`: the job ended with another verdict than passed.
    case notPassed = 7

    init(_ error: StationError) {
        switch error.code {
        case "usage", "parameter_invalid", "slot_name_invalid", "image_name_invalid", "sha256_invalid", "place_invalid",
            "reader_invalid", "light_invalid", "card_invalid", "card_ambiguous", "builder_name_invalid",
            "build_ambiguous", "job_id_invalid":
            self = .usage
        case "station_unreachable", "station_hung_up", "station_stopping", "too_many_connections": self = .unreachable
        case "permission_denied": self = .notPermitted
        case "slot_unknown", "image_unknown", "image_missing", "job_unknown", "device_unknown", "file_unknown",
            "profile_unknown", "card_unknown", "builder_unknown", "build_unknown", "artifact_unknown", "log_missing":
            self = .notFound
        case "slot_unassigned", "slot_disarmed", "no_card", "job_running", "no_job", "slot_exists", "place_taken",
            "image_name_taken", "image_assigned", "storage_full", "not_declarable",
            "not_confirmed", "file_exists", "backup_running", "restore_running", "restore_unfinished", "restore_mount",
            "no_restore", "station_running", "slot_without_light", "inspection_running", "inspection_ended",
            "slot_preparing",
            "no_card_image",
            "builder_in_use", "builder_offline", "no_build", "build_running", "export_not_allowed":
            self = .refused
        default: self = Reason(rawValue: error.code) != nil ? .refused : .failure
        }
    }

    /// In a few words.
    var meaning: String {
        switch self {
        case .success: "done"
        case .failure: "failed, for a reason that has no code of its own"
        case .usage: "the command line cannot be understood"
        case .unreachable: "no station answers, or it hung up"
        case .notPermitted: "not permitted"
        case .notFound: "no such slot, image, profile, card, job, device, file, builder, build or artifact"
        case .refused: "not possible in the present state"
        case .notPassed: "the job ended with another verdict than passed"
        }
    }

    /// For the help.
    static let summary =
        "0 done, 1 failed, 2 usage, 3 station unreachable, 4 not permitted,\n5 no such slot or image, 6 refused, 7 job did not pass"
}
