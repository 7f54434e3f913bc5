-- Written by versions/write.sh with the bridge of 8fe5bab.
BEGIN TRANSACTION;
CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        fingerprint TEXT NOT NULL DEFAULT '',
        path BLOB NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        modified_ns INTEGER NOT NULL,
        priority INTEGER NOT NULL DEFAULT 0,
        discovered_ns INTEGER NOT NULL,
        changed_ns INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        interruptions INTEGER NOT NULL DEFAULT 0,
        deaths INTEGER NOT NULL DEFAULT 0,
        due_ns INTEGER NOT NULL DEFAULT 0,
        salvage INTEGER NOT NULL DEFAULT 0,
        sequence TEXT NOT NULL DEFAULT '',
        verification TEXT NOT NULL DEFAULT '',
        messages_sent INTEGER NOT NULL DEFAULT 0,
        failure TEXT,
        supersedes INTEGER,
        duplicate_of INTEGER
    , upload TEXT, resend INTEGER NOT NULL DEFAULT 0, split_of TEXT NOT NULL DEFAULT '', split_index INTEGER);
INSERT INTO "entries" VALUES(1,'89e5c86524a44cff709a3c5af592cc95aa8ed17cc0d66e9ad734e5982fab0feb',X'2F7265636F7264696E67732F73656E74','sent','finalised','141 messages on the platform, all verified (141 unverifiable: no checksum in the files)',1917860,1795905904364123244,0,1795905908076098403,1795905909969590423,0,0,0,0,0,'sent_89e5c86524a4','counts',141,NULL,NULL,NULL,NULL,0,'',NULL);
INSERT INTO "entries" VALUES(2,'2db6f9dbd795f82223db192eb8268dafb0775e79a54128fca080e6dae14c83ea',X'2F7265636F7264696E67732F616761696E','again','finalised','141 messages on the platform, all verified (141 unverifiable: no checksum in the files)',1917860,1795905904508568849,0,1795905908076520728,1795905910250197964,0,0,0,0,0,'again_2db6f9dbd795','counts',141,NULL,NULL,NULL,NULL,0,'',NULL);
INSERT INTO "entries" VALUES(3,'e8483562aae5c06b01d66f26fe57d4d596edb094762fb81e8801eae2ec4a1fd6',X'2F7265636F7264696E67732F616C6F6E652E6D636170','alone','finalised','51 messages on the platform, all verified (51 unverifiable: no checksum in the files)',761110,1795905904652123233,0,1795905908076637341,1795905910485251208,0,0,0,0,0,'alone_e8483562aae5','counts',51,NULL,NULL,NULL,NULL,0,'',NULL);
INSERT INTO "entries" VALUES(4,'843e460aa903a8c95221daa23215b8690c188fe55bf7826514ec78566a40444b',X'2F7265636F7264696E67732F6375742E6D636170','cut','partial','43 messages on the platform, 548 bytes unreadable, the recorder did not close the recording (43 unverifiable: no checksum in the files)',392220,1795905904652721079,0,1795905908076710910,1795905910717421671,0,0,0,0,1,'cut_843e460aa903','counts',43,NULL,NULL,NULL,NULL,0,'',NULL);
INSERT INTO "entries" VALUES(5,'',X'2F7265636F7264696E67732F62726F6B656E2E6D636170','broken','quarantined','the file is text, not a recording',1000,1795905904652890139,0,1795905908076784068,1795905908579960245,0,0,0,0,0,'','',0,'{"error": "NotARecordingError", "message": "the file is text, not a recording", "hint": "perhaps an error page was saved in its place", "trouble": "poison", "facts": {"path": "/recordings/broken.mcap"}}',NULL,NULL,NULL,0,'',NULL);
INSERT INTO "entries" VALUES(6,'101a1686fecfe88092de874298a15b73177d2d3bd59339f639fab687e009a88a',X'2F7265636F7264696E67732F6C617465','late','ready','every file has its end and nobody writes',1917860,1795905904644123233,0,1795905913771414637,1795905913809975950,0,0,0,0,0,'','',0,NULL,NULL,NULL,NULL,0,'',NULL);
CREATE TABLE reports (
        entry_id INTEGER PRIMARY KEY REFERENCES entries (id) ON DELETE CASCADE,
        report TEXT NOT NULL
    );
INSERT INTO "reports" VALUES(3,'{"recording": "/recordings/alone.mcap", "sequence": "alone_e8483562aae5", "fingerprint": "e8483562aae5c06b01d66f26fe57d4d596edb094762fb81e8801eae2ec4a1fd6", "sha256": {}, "topics": [{"name": "/imu/data", "msgtype": "sensor_msgs/msg/Imu", "outcome": "mapped", "platform_name": "/imu/data", "ontology_tag": "IMU", "reason": "", "messages_recorded": 17, "messages_sent": 17, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 6982, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000160300000}, {"name": "/odom", "msgtype": "nav_msgs/msg/Odometry", "outcome": "mapped", "platform_name": "/odom", "ontology_tag": "MotionState", "reason": "", "messages_recorded": 9, "messages_sent": 9, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 9143, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000160300000}, {"name": "/tf", "msgtype": "tf2_msgs/msg/TFMessage", "outcome": "mapped", "platform_name": "/tf", "ontology_tag": "FrameTransform", "reason": "", "messages_recorded": 9, "messages_sent": 9, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 4330, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000160300000}, {"name": "/joint_states", "msgtype": "sensor_msgs/msg/JointState", "outcome": "mapped", "platform_name": "/joint_states", "ontology_tag": "RobotJoint", "reason": "", "messages_recorded": 9, "messages_sent": 9, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 1982, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000160300000}, {"name": "/gps/fix", "msgtype": "sensor_msgs/msg/NavSatFix", "outcome": "mapped", "platform_name": "/gps/fix", "ontology_tag": "GPS", "reason": "", "messages_recorded": 2, "messages_sent": 2, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 460, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000100300000}, {"name": "/camera/front/image_raw", "msgtype": "sensor_msgs/msg/Image", "outcome": "mapped", "platform_name": "/camera/front/image_raw", "ontology_tag": "Image", "reason": "", "messages_recorded": 2, "messages_sent": 2, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 460942, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000100300000}, {"name": "/lidar/points", "msgtype": "sensor_msgs/msg/PointCloud2", "outcome": "mapped", "platform_name": "/lidar/points", "ontology_tag": "PointCloud2", "reason": "", "messages_recorded": 2, "messages_sent": 2, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 262455, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000100300000}, {"name": "/diagnostics", "msgtype": "diagnostic_msgs/msg/DiagnosticArray", "outcome": "generic", "platform_name": "/diagnostics", "ontology_tag": "DiagnosticArray", "reason": "", "messages_recorded": 1, "messages_sent": 1, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 96, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000000300000}], "losses": [], "healthy": true, "messages_unverifiable": 51, "verification": "counts", "recorded_bytes": 761110, "seconds": 0.20222071399984998, "notes": [], "replaced": null, "messages_sent": 51, "messages_skipped": 0, "salvaged": false, "complete": true}');
INSERT INTO "reports" VALUES(4,'{"recording": "/recordings/cut.mcap", "sequence": "cut_843e460aa903", "fingerprint": "843e460aa903a8c95221daa23215b8690c188fe55bf7826514ec78566a40444b", "sha256": {}, "topics": [{"name": "/imu/data", "msgtype": "sensor_msgs/msg/Imu", "outcome": "mapped", "platform_name": "/imu/data", "ontology_tag": "IMU", "reason": "", "messages_recorded": null, "messages_sent": 16, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 6568, "batches": 1, "start_ns": 1700001000340300000, "end_ns": 1700001000490300000}, {"name": "/odom", "msgtype": "nav_msgs/msg/Odometry", "outcome": "mapped", "platform_name": "/odom", "ontology_tag": "MotionState", "reason": "", "messages_recorded": null, "messages_sent": 8, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 8117, "batches": 1, "start_ns": 1700001000340300000, "end_ns": 1700001000480300000}, {"name": "/tf", "msgtype": "tf2_msgs/msg/TFMessage", "outcome": "mapped", "platform_name": "/tf", "ontology_tag": "FrameTransform", "reason": "", "messages_recorded": null, "messages_sent": 8, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 3845, "batches": 1, "start_ns": 1700001000340300000, "end_ns": 1700001000480300000}, {"name": "/joint_states", "msgtype": "sensor_msgs/msg/JointState", "outcome": "mapped", "platform_name": "/joint_states", "ontology_tag": "RobotJoint", "reason": "", "messages_recorded": null, "messages_sent": 8, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 1761, "batches": 1, "start_ns": 1700001000340300000, "end_ns": 1700001000480300000}, {"name": "/gps/fix", "msgtype": "sensor_msgs/msg/NavSatFix", "outcome": "mapped", "platform_name": "/gps/fix", "ontology_tag": "GPS", "reason": "", "messages_recorded": null, "messages_sent": 1, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 232, "batches": 1, "start_ns": 1700001000400300000, "end_ns": 1700001000400300000}, {"name": "/camera/front/image_raw", "msgtype": "sensor_msgs/msg/Image", "outcome": "mapped", "platform_name": "/camera/front/image_raw", "ontology_tag": "Image", "reason": "", "messages_recorded": null, "messages_sent": 1, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 230472, "batches": 1, "start_ns": 1700001000400300000, "end_ns": 1700001000400300000}, {"name": "/lidar/points", "msgtype": "sensor_msgs/msg/PointCloud2", "outcome": "mapped", "platform_name": "/lidar/points", "ontology_tag": "PointCloud2", "reason": "", "messages_recorded": null, "messages_sent": 1, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 131229, "batches": 1, "start_ns": 1700001000400300000, "end_ns": 1700001000400300000}, {"name": "/diagnostics", "msgtype": "diagnostic_msgs/msg/DiagnosticArray", "outcome": "empty", "platform_name": "/diagnostics", "ontology_tag": "DiagnosticArray", "reason": "no messages", "messages_recorded": null, "messages_sent": 0, "messages_skipped": {}, "messages_leftover": 0, "arrow_bytes": 0, "batches": 0, "start_ns": null, "end_ns": null}], "losses": [{"path": "/recordings/cut.mcap", "start_bytes": 391672, "end_bytes": 392220, "reason": "the file ends inside a record", "verifiable": false}], "healthy": false, "messages_unverifiable": 43, "verification": "counts", "recorded_bytes": 392220, "seconds": 0.19460190099925967, "notes": [], "replaced": null, "messages_sent": 43, "messages_skipped": 0, "salvaged": true, "complete": false}');
CREATE TABLE requests (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        entry_id INTEGER NOT NULL,
        at_ns INTEGER NOT NULL,
        answer TEXT NOT NULL DEFAULT ''
    );
CREATE TABLE sightings (
        path BLOB PRIMARY KEY,
        entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
        signature TEXT NOT NULL
    );
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F73656E74',1,'12ff727136811558b58c9a9a0657cde389d75aca36630c62e9abe0e31bf21a7b');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F616761696E',2,'e952d1ed7a0c0db886b0a8260bef8987a83a72e8ede926f315d1d51ac93c8953');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F616C6F6E652E6D636170',3,'6911e3876d8cf9e9b5b39b1cb0acf101b5c96ea34a7cb03ce6ea1f77603036b7');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F6375742E6D636170',4,'ae2574b856e62a14c1a18d258891edf5199eded4b172498c486365ba0fbf092d');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F62726F6B656E2E6D636170',5,'0a1c87e29caa55f76ea5b61ad71f9d16570f955ebb23b6f1813e3aca6b165810');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F6C617465',6,'f209f799ef539eee86652e35a446387402e1812c81e9a346e362f239f2ec878f');
CREATE TABLE transitions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
        before TEXT,
        after TEXT NOT NULL,
        at_ns INTEGER NOT NULL,
        reason TEXT NOT NULL
    );
INSERT INTO "transitions" VALUES(1,1,NULL,'discovered',1795905908076098403,'seen by a scan');
INSERT INTO "transitions" VALUES(2,2,NULL,'discovered',1795905908076520728,'seen by a scan');
INSERT INTO "transitions" VALUES(3,3,NULL,'discovered',1795905908076637341,'seen by a scan');
INSERT INTO "transitions" VALUES(4,4,NULL,'discovered',1795905908076710910,'seen by a scan');
INSERT INTO "transitions" VALUES(5,5,NULL,'discovered',1795905908076784068,'seen by a scan');
INSERT INTO "transitions" VALUES(6,1,'discovered','ready',1795905908094189489,'every file has its end and nobody writes');
INSERT INTO "transitions" VALUES(7,2,'discovered','ready',1795905908103603433,'every file has its end and nobody writes');
INSERT INTO "transitions" VALUES(8,3,'discovered','ready',1795905908104247667,'every file has its end and nobody writes');
INSERT INTO "transitions" VALUES(9,4,'discovered','settling',1795905908104760116,'cut.mcap has no proper end; taken as it is once nothing has changed for 0 s');
INSERT INTO "transitions" VALUES(10,5,'discovered','settling',1795905908105052569,'the file is text, not a recording');
INSERT INTO "transitions" VALUES(11,4,'settling','ready',1795905908579609846,'cut.mcap has no proper end, and nothing has changed for 1 s');
INSERT INTO "transitions" VALUES(12,5,'settling','quarantined',1795905908579960245,'the file is text, not a recording');
INSERT INTO "transitions" VALUES(13,1,'ready','sending',1795905909657607850,'attempt 1, worker 1');
INSERT INTO "transitions" VALUES(14,1,'sending','verified',1795905909963088244,'the platform has what was sent');
INSERT INTO "transitions" VALUES(15,1,'verified','finalised',1795905909969590423,'141 messages on the platform, all verified (141 unverifiable: no checksum in the files)');
INSERT INTO "transitions" VALUES(16,2,'ready','sending',1795905909973389589,'attempt 1, worker 1');
INSERT INTO "transitions" VALUES(17,2,'sending','verified',1795905910245521319,'the platform has what was sent');
INSERT INTO "transitions" VALUES(18,2,'verified','finalised',1795905910250197964,'141 messages on the platform, all verified (141 unverifiable: no checksum in the files)');
INSERT INTO "transitions" VALUES(19,3,'ready','sending',1795905910253239668,'attempt 1, worker 1');
INSERT INTO "transitions" VALUES(20,3,'sending','verified',1795905910481891862,'the platform has what was sent');
INSERT INTO "transitions" VALUES(21,3,'verified','finalised',1795905910485251208,'51 messages on the platform, all verified (51 unverifiable: no checksum in the files)');
INSERT INTO "transitions" VALUES(22,4,'ready','sending',1795905910490370929,'attempt 1, worker 1');
INSERT INTO "transitions" VALUES(23,4,'sending','verified',1795905910704800571,'the platform has what was sent');
INSERT INTO "transitions" VALUES(24,4,'verified','partial',1795905910717421671,'43 messages on the platform, 548 bytes unreadable, the recorder did not close the recording (43 unverifiable: no checksum in the files)');
INSERT INTO "transitions" VALUES(25,6,NULL,'discovered',1795905913771414637,'seen by a scan');
INSERT INTO "transitions" VALUES(26,6,'discovered','ready',1795905913809975950,'every file has its end and nobody writes');
CREATE UNIQUE INDEX entries_by_content ON entries (fingerprint)
        WHERE fingerprint != '' AND duplicate_of IS NULL;
CREATE INDEX entries_by_state ON entries (state, priority, modified_ns, id);
CREATE INDEX entries_by_path ON entries (path);
CREATE INDEX transitions_by_entry ON transitions (entry_id, id);
CREATE INDEX sightings_by_entry ON sightings (entry_id);
CREATE INDEX entries_by_name ON entries (name);
CREATE INDEX entries_by_whole ON entries (split_of) WHERE split_of != '';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('entries',6);
INSERT INTO "sqlite_sequence" VALUES('transitions',26);
COMMIT;
PRAGMA user_version = 3;
