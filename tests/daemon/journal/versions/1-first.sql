-- Written by versions/write.sh with the bridge of 5def0d5.
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
    );
INSERT INTO "entries" VALUES(1,'89e5c86524a44cff709a3c5af592cc95aa8ed17cc0d66e9ad734e5982fab0feb',X'2F7265636F7264696E67732F73656E74','sent','finalised','141 messages on the platform, all verified',1917860,1795905864752124764,1795905872549149911,1795905874520754977,0,0,0,0,0,'sent_89e5c86524a4','range',141,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(2,'2db6f9dbd795f82223db192eb8268dafb0775e79a54128fca080e6dae14c83ea',X'2F7265636F7264696E67732F616761696E','again','finalised','141 messages on the platform, all verified',1917860,1795905865040124753,1795905872549391980,1795905874750123022,0,0,0,0,0,'again_2db6f9dbd795','range',141,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(3,'e8483562aae5c06b01d66f26fe57d4d596edb094762fb81e8801eae2ec4a1fd6',X'2F7265636F7264696E67732F616C6F6E652E6D636170','alone','finalised','51 messages on the platform, all verified',761110,1795905865354043974,1795905872549459059,1795905874953540293,0,0,0,0,0,'alone_e8483562aae5','range',51,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(4,'843e460aa903a8c95221daa23215b8690c188fe55bf7826514ec78566a40444b',X'2F7265636F7264696E67732F6375742E6D636170','cut','partial','43 messages on the platform, 548 bytes unreadable, the recorder did not close the recording',392220,1795905865354613237,1795905872549517836,1795905875133115763,0,0,0,0,1,'cut_843e460aa903','range',43,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(5,'',X'2F7265636F7264696E67732F62726F6B656E2E6D636170','broken','quarantined','the file is text, not a recording',1000,1795905865354770469,1795905872549577154,1795905873054023897,0,0,0,0,0,'','',0,'{"error": "NotARecordingError", "message": "the file is text, not a recording", "hint": "perhaps an error page was saved in its place", "trouble": "poison", "facts": {"path": "/recordings/broken.mcap"}}',NULL,NULL);
INSERT INTO "entries" VALUES(6,'101a1686fecfe88092de874298a15b73177d2d3bd59339f639fab687e009a88a',X'2F7265636F7264696E67732F6C617465','late','ready','every file has its end and nobody writes',1917860,1795905865336124742,1795905878431458974,1795905878453600882,0,0,0,0,0,'','',0,NULL,NULL,NULL);
CREATE TABLE reports (
        entry_id INTEGER PRIMARY KEY REFERENCES entries (id) ON DELETE CASCADE,
        report TEXT NOT NULL
    );
INSERT INTO "reports" VALUES(3,'{"recording": "/recordings/alone.mcap", "sequence": "alone_e8483562aae5", "fingerprint": "e8483562aae5c06b01d66f26fe57d4d596edb094762fb81e8801eae2ec4a1fd6", "content_hash": "8430701e8ace7abec4177ce1ee24ee211c43172c56176e511d3659d92ecf222a", "topics": [{"name": "/imu/data", "msgtype": "sensor_msgs/msg/Imu", "outcome": "mapped", "platform_name": "/imu/data", "ontology_tag": "IMU", "reason": "", "messages_recorded": 17, "messages_sent": 17, "messages_skipped": {}, "arrow_bytes": 6982, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000160300000}, {"name": "/odom", "msgtype": "nav_msgs/msg/Odometry", "outcome": "mapped", "platform_name": "/odom", "ontology_tag": "MotionState", "reason": "", "messages_recorded": 9, "messages_sent": 9, "messages_skipped": {}, "arrow_bytes": 9143, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000160300000}, {"name": "/tf", "msgtype": "tf2_msgs/msg/TFMessage", "outcome": "mapped", "platform_name": "/tf", "ontology_tag": "FrameTransform", "reason": "", "messages_recorded": 9, "messages_sent": 9, "messages_skipped": {}, "arrow_bytes": 4330, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000160300000}, {"name": "/joint_states", "msgtype": "sensor_msgs/msg/JointState", "outcome": "mapped", "platform_name": "/joint_states", "ontology_tag": "RobotJoint", "reason": "", "messages_recorded": 9, "messages_sent": 9, "messages_skipped": {}, "arrow_bytes": 1982, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000160300000}, {"name": "/gps/fix", "msgtype": "sensor_msgs/msg/NavSatFix", "outcome": "mapped", "platform_name": "/gps/fix", "ontology_tag": "GPS", "reason": "", "messages_recorded": 2, "messages_sent": 2, "messages_skipped": {}, "arrow_bytes": 460, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000100300000}, {"name": "/camera/front/image_raw", "msgtype": "sensor_msgs/msg/Image", "outcome": "mapped", "platform_name": "/camera/front/image_raw", "ontology_tag": "Image", "reason": "", "messages_recorded": 2, "messages_sent": 2, "messages_skipped": {}, "arrow_bytes": 460942, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000100300000}, {"name": "/lidar/points", "msgtype": "sensor_msgs/msg/PointCloud2", "outcome": "mapped", "platform_name": "/lidar/points", "ontology_tag": "PointCloud2", "reason": "", "messages_recorded": 2, "messages_sent": 2, "messages_skipped": {}, "arrow_bytes": 262455, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000100300000}, {"name": "/diagnostics", "msgtype": "diagnostic_msgs/msg/DiagnosticArray", "outcome": "generic", "platform_name": "/diagnostics", "ontology_tag": "DiagnosticArray", "reason": "", "messages_recorded": 1, "messages_sent": 1, "messages_skipped": {}, "arrow_bytes": 96, "batches": 1, "start_ns": 1700002000000300000, "end_ns": 1700002000000300000}], "losses": [], "healthy": true, "verification": "range", "recorded_bytes": 761110, "seconds": 0.16775356400103192, "notes": [], "messages_sent": 51, "messages_skipped": 0, "complete": true}');
INSERT INTO "reports" VALUES(4,'{"recording": "/recordings/cut.mcap", "sequence": "cut_843e460aa903", "fingerprint": "843e460aa903a8c95221daa23215b8690c188fe55bf7826514ec78566a40444b", "content_hash": "fe5ac3651436c36d8107475edc2a93ca184474f57300591d6d1bfa1fe9e3b16d", "topics": [{"name": "/imu/data", "msgtype": "sensor_msgs/msg/Imu", "outcome": "mapped", "platform_name": "/imu/data", "ontology_tag": "IMU", "reason": "", "messages_recorded": null, "messages_sent": 16, "messages_skipped": {}, "arrow_bytes": 6568, "batches": 1, "start_ns": 1700001000340300000, "end_ns": 1700001000490300000}, {"name": "/odom", "msgtype": "nav_msgs/msg/Odometry", "outcome": "mapped", "platform_name": "/odom", "ontology_tag": "MotionState", "reason": "", "messages_recorded": null, "messages_sent": 8, "messages_skipped": {}, "arrow_bytes": 8117, "batches": 1, "start_ns": 1700001000340300000, "end_ns": 1700001000480300000}, {"name": "/tf", "msgtype": "tf2_msgs/msg/TFMessage", "outcome": "mapped", "platform_name": "/tf", "ontology_tag": "FrameTransform", "reason": "", "messages_recorded": null, "messages_sent": 8, "messages_skipped": {}, "arrow_bytes": 3845, "batches": 1, "start_ns": 1700001000340300000, "end_ns": 1700001000480300000}, {"name": "/joint_states", "msgtype": "sensor_msgs/msg/JointState", "outcome": "mapped", "platform_name": "/joint_states", "ontology_tag": "RobotJoint", "reason": "", "messages_recorded": null, "messages_sent": 8, "messages_skipped": {}, "arrow_bytes": 1761, "batches": 1, "start_ns": 1700001000340300000, "end_ns": 1700001000480300000}, {"name": "/gps/fix", "msgtype": "sensor_msgs/msg/NavSatFix", "outcome": "mapped", "platform_name": "/gps/fix", "ontology_tag": "GPS", "reason": "", "messages_recorded": null, "messages_sent": 1, "messages_skipped": {}, "arrow_bytes": 232, "batches": 1, "start_ns": 1700001000400300000, "end_ns": 1700001000400300000}, {"name": "/camera/front/image_raw", "msgtype": "sensor_msgs/msg/Image", "outcome": "mapped", "platform_name": "/camera/front/image_raw", "ontology_tag": "Image", "reason": "", "messages_recorded": null, "messages_sent": 1, "messages_skipped": {}, "arrow_bytes": 230472, "batches": 1, "start_ns": 1700001000400300000, "end_ns": 1700001000400300000}, {"name": "/lidar/points", "msgtype": "sensor_msgs/msg/PointCloud2", "outcome": "mapped", "platform_name": "/lidar/points", "ontology_tag": "PointCloud2", "reason": "", "messages_recorded": null, "messages_sent": 1, "messages_skipped": {}, "arrow_bytes": 131229, "batches": 1, "start_ns": 1700001000400300000, "end_ns": 1700001000400300000}, {"name": "/diagnostics", "msgtype": "diagnostic_msgs/msg/DiagnosticArray", "outcome": "empty", "platform_name": "/diagnostics", "ontology_tag": "DiagnosticArray", "reason": "no messages", "messages_recorded": null, "messages_sent": 0, "messages_skipped": {}, "arrow_bytes": 0, "batches": 0, "start_ns": null, "end_ns": null}], "losses": [{"path": "/recordings/cut.mcap", "start_bytes": 391672, "end_bytes": 392220, "reason": "the file ends inside a record", "verifiable": false}], "healthy": false, "verification": "range", "recorded_bytes": 392220, "seconds": 0.15775498800030618, "notes": [], "messages_sent": 43, "messages_skipped": 0, "complete": false}');
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
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F73656E74',1,'b3654e93fe7c612256a23a6f881712f6bef54a3ffd770c42a4672f752a4c5f97');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F616761696E',2,'59aa6aa9454d41e3b83e6f13cf323954d9cf09d1c39e517f4fb1456c4fd525bc');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F616C6F6E652E6D636170',3,'8ca8537fc54984b1bc33df59af6817ff639cc71092d30803ff316d2714ce7ea8');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F6375742E6D636170',4,'c2806f34cc63dd6a1d35931edbe8c2e778a96e502fa141a2694c0d14179a0873');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F62726F6B656E2E6D636170',5,'ef01f662f1dfbf6bfddd73af5053441255a5ab5e33c9f7fddea6a671fb31d041');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F6C617465',6,'f9b1f3e9682eeafb814f830a859740fa42ad44d9c9cda4413cfb932cb250f728');
CREATE TABLE transitions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
        before TEXT,
        after TEXT NOT NULL,
        at_ns INTEGER NOT NULL,
        reason TEXT NOT NULL
    );
INSERT INTO "transitions" VALUES(1,1,NULL,'discovered',1795905872549149911,'seen by a scan');
INSERT INTO "transitions" VALUES(2,2,NULL,'discovered',1795905872549391980,'seen by a scan');
INSERT INTO "transitions" VALUES(3,3,NULL,'discovered',1795905872549459059,'seen by a scan');
INSERT INTO "transitions" VALUES(4,4,NULL,'discovered',1795905872549517836,'seen by a scan');
INSERT INTO "transitions" VALUES(5,5,NULL,'discovered',1795905872549577154,'seen by a scan');
INSERT INTO "transitions" VALUES(6,1,'discovered','ready',1795905872583159203,'every file has its end and nobody writes');
INSERT INTO "transitions" VALUES(7,2,'discovered','ready',1795905872617015158,'every file has its end and nobody writes');
INSERT INTO "transitions" VALUES(8,3,'discovered','ready',1795905872621454772,'every file has its end and nobody writes');
INSERT INTO "transitions" VALUES(9,4,'discovered','settling',1795905872621840814,'cut.mcap has no proper end; taken as it is once nothing has changed for 0 s');
INSERT INTO "transitions" VALUES(10,5,'discovered','settling',1795905872628901735,'the file is text, not a recording');
INSERT INTO "transitions" VALUES(11,4,'settling','ready',1795905873053701099,'cut.mcap has no proper end, and nothing has changed for 1 s');
INSERT INTO "transitions" VALUES(12,5,'settling','quarantined',1795905873054023897,'the file is text, not a recording');
INSERT INTO "transitions" VALUES(13,1,'ready','sending',1795905873874225834,'attempt 1, worker 1');
INSERT INTO "transitions" VALUES(14,1,'sending','verified',1795905874517673745,'the platform has what was sent');
INSERT INTO "transitions" VALUES(15,1,'verified','finalised',1795905874520754977,'141 messages on the platform, all verified');
INSERT INTO "transitions" VALUES(16,2,'ready','sending',1795905874521798823,'attempt 1, worker 1');
INSERT INTO "transitions" VALUES(17,2,'sending','verified',1795905874746067727,'the platform has what was sent');
INSERT INTO "transitions" VALUES(18,2,'verified','finalised',1795905874750123022,'141 messages on the platform, all verified');
INSERT INTO "transitions" VALUES(19,3,'ready','sending',1795905874752541593,'attempt 1, worker 1');
INSERT INTO "transitions" VALUES(20,3,'sending','verified',1795905874950619688,'the platform has what was sent');
INSERT INTO "transitions" VALUES(21,3,'verified','finalised',1795905874953540293,'51 messages on the platform, all verified');
INSERT INTO "transitions" VALUES(22,4,'ready','sending',1795905874956452285,'attempt 1, worker 1');
INSERT INTO "transitions" VALUES(23,4,'sending','verified',1795905875122568795,'the platform has what was sent');
INSERT INTO "transitions" VALUES(24,4,'verified','partial',1795905875133115763,'43 messages on the platform, 548 bytes unreadable, the recorder did not close the recording');
INSERT INTO "transitions" VALUES(25,6,NULL,'discovered',1795905878431458974,'seen by a scan');
INSERT INTO "transitions" VALUES(26,6,'discovered','ready',1795905878453600882,'every file has its end and nobody writes');
CREATE UNIQUE INDEX entries_by_content ON entries (fingerprint)
        WHERE fingerprint != '' AND duplicate_of IS NULL;
CREATE INDEX entries_by_state ON entries (state, modified_ns, id);
CREATE INDEX entries_by_path ON entries (path);
CREATE INDEX transitions_by_entry ON transitions (entry_id, id);
CREATE INDEX sightings_by_entry ON sightings (entry_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('entries',6);
INSERT INTO "sqlite_sequence" VALUES('transitions',26);
COMMIT;
PRAGMA user_version = 1;
