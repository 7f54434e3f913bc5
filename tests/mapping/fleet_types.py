"""Definitions of types that fleets record, as their packages document them, without comments."""

FLEET_TYPES: dict[str, str] = {
    "foxglove_msgs/msg/CompressedVideo": (
        "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n"
    ),
    "foxglove_msgs/msg/CompressedImage": (
        "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n"
    ),
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": (
        "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\n"
        "uint8 flags\nbool is_bigendian\nuint8[] data\n"
    ),
    "tf/msg/tfMessage": "geometry_msgs/TransformStamped[] transforms\n",
    **{
        f"{package}/msg/{name}": text
        for package in ("gps_msgs", "gps_common")
        for name, text in {
            "GPSStatus": (
                "std_msgs/Header header\nuint16 satellites_used\nint32[] satellite_used_prn\n"
                "uint16 satellites_visible\nint32[] satellite_visible_prn\n"
                "int32[] satellite_visible_z\nint32[] satellite_visible_azimuth\n"
                "int32[] satellite_visible_snr\nint16 status\nuint16 motion_source\n"
                "uint16 orientation_source\nuint16 position_source\n"
            ),
            "GPSFix": (
                f"std_msgs/Header header\n{package}/GPSStatus status\nfloat64 latitude\n"
                "float64 longitude\nfloat64 altitude\nfloat64 track\nfloat64 speed\n"
                "float64 climb\nfloat64 pitch\nfloat64 roll\nfloat64 dip\nfloat64 time\n"
                "float64 gdop\nfloat64 pdop\nfloat64 hdop\nfloat64 vdop\nfloat64 tdop\n"
                "float64 err\nfloat64 err_horz\nfloat64 err_vert\nfloat64 err_track\n"
                "float64 err_speed\nfloat64 err_climb\nfloat64 err_time\nfloat64 err_pitch\n"
                "float64 err_roll\nfloat64 err_dip\nfloat64[9] position_covariance\n"
                "uint8 position_covariance_type\n"
            ),
        }.items()
    },
    **{
        f"{package}/msg/{name}": text
        for package in ("livox_ros_driver", "livox_ros_driver2", "livox_interfaces")
        for name, text in {
            "CustomPoint": (
                "uint32 offset_time\nfloat32 x\nfloat32 y\nfloat32 z\nuint8 reflectivity\n"
                "uint8 tag\nuint8 line\n"
            ),
            "CustomMsg": (
                "std_msgs/Header header\nuint64 timebase\nuint32 point_num\nuint8 lidar_id\n"
                f"uint8[3] rsvd\n{package}/CustomPoint[] points\n"
            ),
        }.items()
    },
    "px4_msgs/msg/SensorCombined": (
        "uint64 timestamp\nfloat32[3] gyro_rad\nuint32 gyro_integral_dt\n"
        "int32 accelerometer_timestamp_relative\nfloat32[3] accelerometer_m_s2\n"
        "uint32 accelerometer_integral_dt\nuint8 accelerometer_clipping\nuint8 gyro_clipping\n"
        "uint8 accel_calibration_count\nuint8 gyro_calibration_count\n"
    ),
    "px4_msgs/msg/VehicleOdometry": (
        "uint64 timestamp\nuint64 timestamp_sample\nuint8 pose_frame\nfloat32[3] position\n"
        "float32[4] q\nuint8 velocity_frame\nfloat32[3] velocity\nfloat32[3] angular_velocity\n"
        "float32[3] position_variance\nfloat32[3] orientation_variance\n"
        "float32[3] velocity_variance\nuint8 reset_counter\nint8 quality\n"
    ),
    "px4_msgs/msg/SensorGps": (
        "uint64 timestamp\nuint64 timestamp_sample\nuint32 device_id\nfloat64 latitude_deg\n"
        "float64 longitude_deg\nfloat64 altitude_msl_m\nfloat64 altitude_ellipsoid_m\n"
        "float32 s_variance_m_s\nfloat32 c_variance_rad\nuint8 fix_type\nfloat32 eph\n"
        "float32 epv\nfloat32 hdop\nfloat32 vdop\nint32 noise_per_ms\nfloat32 vel_m_s\n"
        "float32 vel_n_m_s\nfloat32 vel_e_m_s\nfloat32 vel_d_m_s\nfloat32 cog_rad\n"
        "bool vel_ned_valid\nint32 timestamp_time_relative\nuint64 time_utc_usec\n"
        "uint8 satellites_used\nfloat32 heading\n"
    ),
    "radar_msgs/msg/RadarReturn": (
        "float32 range\nfloat32 azimuth\nfloat32 elevation\nfloat32 doppler_velocity\n"
        "float32 amplitude\n"
    ),
    "radar_msgs/msg/RadarScan": ("std_msgs/Header header\nradar_msgs/RadarReturn[] returns\n"),
    "std_msgs/msg/Time": "builtin_interfaces/Time data\n",
    "std_msgs/msg/Duration": "builtin_interfaces/Duration data\n",
}
