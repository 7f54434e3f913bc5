-- Written by versions/write.sh with the bridge of f92bc52.
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
INSERT INTO "entries" VALUES(1,'89e5c86524a44cff709a3c5af592cc95aa8ed17cc0d66e9ad734e5982fab0feb',X'2F7265636F7264696E67732F73656E74','sent','finalised','141 messages on the platform, verified: counts (141 unverifiable: no checksum in the files)',1917860,1795905950260121483,0,1795905959294772106,1795905961342152994,0,0,0,0,0,'sent_89e5c86524a4','counts',141,NULL,NULL,NULL,NULL,0,'',NULL);
INSERT INTO "entries" VALUES(2,'2db6f9dbd795f82223db192eb8268dafb0775e79a54128fca080e6dae14c83ea',X'2F7265636F7264696E67732F616761696E','again','finalised','141 messages on the platform, verified: counts (141 unverifiable: no checksum in the files)',1917860,1795905950637204376,0,1795905959295057809,1795905961568024230,0,0,0,0,0,'again_2db6f9dbd795','counts',141,NULL,NULL,NULL,NULL,0,'',NULL);
INSERT INTO "entries" VALUES(3,'e8483562aae5c06b01d66f26fe57d4d596edb094762fb81e8801eae2ec4a1fd6',X'2F7265636F7264696E67732F616C6F6E652E6D636170','alone','finalised','141 messages on the platform, verified: counts',761110,1795905951033332023,0,1795905959295138249,1795905961606931345,0,0,0,0,0,'again_2db6f9dbd795','counts',141,NULL,NULL,NULL,NULL,0,'',NULL);
INSERT INTO "entries" VALUES(4,'843e460aa903a8c95221daa23215b8690c188fe55bf7826514ec78566a40444b',X'2F7265636F7264696E67732F6375742E6D636170','cut','partial','43 messages on the platform, in part: 548 bytes unreadable in 1 place; the recorder did not close the recording (43 unverifiable: no checksum in the files)',392220,1795905951034029696,0,1795905959295204747,1795905961749848010,0,0,0,0,1,'cut_843e460aa903','counts',43,NULL,NULL,NULL,NULL,0,'',NULL);
INSERT INTO "entries" VALUES(5,'',X'2F7265636F7264696E67732F62726F6B656E2E6D636170','broken','quarantined','the file is text, not a recording',1000,1795905951034211906,0,1795905959295272267,1795905959812660975,0,0,0,0,0,'','',0,'{"error": "NotARecordingError", "message": "the file is text, not a recording", "hint": "perhaps an error page was saved in its place", "trouble": "poison", "facts": {"path": "/recordings/broken.mcap"}}',NULL,NULL,NULL,0,'',NULL);
INSERT INTO "entries" VALUES(6,'101a1686fecfe88092de874298a15b73177d2d3bd59339f639fab687e009a88a',X'2F7265636F7264696E67732F6C617465','late','ready','every file has its end and nobody writes',1917860,1795905951020121454,0,1795905964406815268,1795905964428765613,0,0,0,0,0,'','',0,NULL,NULL,NULL,NULL,0,'',NULL);
CREATE TABLE parts (
        entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        identity TEXT NOT NULL,
        name BLOB NOT NULL,
        size_bytes INTEGER NOT NULL,
        PRIMARY KEY (entry_id, position)
    ) WITHOUT ROWID;
INSERT INTO "parts" VALUES(1,0,'fb4d193cffc60a3c9009e1560da0a9259863695329d152539ee1ae273b975046',X'73656E745F302E6D636170',761110);
INSERT INTO "parts" VALUES(1,1,'d8abeed6b9e8917e21217570a3d0159a19662c19282d3fbebec0e17686005f15',X'73656E745F312E6D636170',759530);
INSERT INTO "parts" VALUES(1,2,'286172c82bd360118bacfee2c933996666862171d08fa63b3b61a8de67b83481',X'73656E745F322E6D636170',397220);
INSERT INTO "parts" VALUES(2,0,'e8483562aae5c06b01d66f26fe57d4d596edb094762fb81e8801eae2ec4a1fd6',X'616761696E5F302E6D636170',761110);
INSERT INTO "parts" VALUES(2,1,'a9673d00f8101b89fd7794050b91084cb835944f662362498a7615abefe7c816',X'616761696E5F312E6D636170',759530);
INSERT INTO "parts" VALUES(2,2,'f518155ec7dedf3e59751acae58e4062696c05202b9a16cad6e98f48639c7b83',X'616761696E5F322E6D636170',397220);
INSERT INTO "parts" VALUES(3,0,'e8483562aae5c06b01d66f26fe57d4d596edb094762fb81e8801eae2ec4a1fd6',X'616C6F6E652E6D636170',761110);
INSERT INTO "parts" VALUES(4,0,'843e460aa903a8c95221daa23215b8690c188fe55bf7826514ec78566a40444b',X'6375742E6D636170',392220);
INSERT INTO "parts" VALUES(6,0,'17f2ae46ac58665654a2ba4862f489b93d531c9b57188d38bd89637ae635b821',X'6C6174655F302E6D636170',761110);
INSERT INTO "parts" VALUES(6,1,'33511984f51fab7504e4c0a340838370bc99bf983ccc051139f54ff5eba84e33',X'6C6174655F312E6D636170',759530);
INSERT INTO "parts" VALUES(6,2,'8cc032181b65857ff00ee5f25f698d6d0a89db090f4481e5de622e1d68d11b39',X'6C6174655F322E6D636170',397220);
CREATE TABLE reports (
        entry_id INTEGER PRIMARY KEY REFERENCES entries (id) ON DELETE CASCADE,
        report TEXT NOT NULL
    );
INSERT INTO "reports" VALUES(3,'{"recording": "/recordings/alone.mcap", "sequence": "again_2db6f9dbd795", "fingerprint": "2db6f9dbd795f82223db192eb8268dafb0775e79a54128fca080e6dae14c83ea", "sha256": {}, "topics": [{"name": "/imu/data", "msgtype": "", "outcome": "mapped", "platform_name": "/imu/data", "ontology_tag": "", "reason": "", "messages_recorded": null, "messages_sent": 50, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "", "arrow_bytes": 0, "batches": 0, "row_bytes_max": 0, "start_ns": 1700002000000300000, "end_ns": 1700002000490300000}, {"name": "/odom", "msgtype": "", "outcome": "mapped", "platform_name": "/odom", "ontology_tag": "", "reason": "", "messages_recorded": null, "messages_sent": 25, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "", "arrow_bytes": 0, "batches": 0, "row_bytes_max": 0, "start_ns": 1700002000000300000, "end_ns": 1700002000480300000}, {"name": "/tf", "msgtype": "", "outcome": "mapped", "platform_name": "/tf", "ontology_tag": "", "reason": "", "messages_recorded": null, "messages_sent": 25, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "", "arrow_bytes": 0, "batches": 0, "row_bytes_max": 0, "start_ns": 1700002000000300000, "end_ns": 1700002000480300000}, {"name": "/joint_states", "msgtype": "", "outcome": "mapped", "platform_name": "/joint_states", "ontology_tag": "", "reason": "", "messages_recorded": null, "messages_sent": 25, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "", "arrow_bytes": 0, "batches": 0, "row_bytes_max": 0, "start_ns": 1700002000000300000, "end_ns": 1700002000480300000}, {"name": "/gps/fix", "msgtype": "", "outcome": "mapped", "platform_name": "/gps/fix", "ontology_tag": "", "reason": "", "messages_recorded": null, "messages_sent": 5, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "", "arrow_bytes": 0, "batches": 0, "row_bytes_max": 0, "start_ns": 1700002000000300000, "end_ns": 1700002000400300000}, {"name": "/camera/front/image_raw", "msgtype": "", "outcome": "mapped", "platform_name": "/camera/front/image_raw", "ontology_tag": "", "reason": "", "messages_recorded": null, "messages_sent": 5, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "", "arrow_bytes": 0, "batches": 0, "row_bytes_max": 0, "start_ns": 1700002000000300000, "end_ns": 1700002000400300000}, {"name": "/lidar/points", "msgtype": "", "outcome": "mapped", "platform_name": "/lidar/points", "ontology_tag": "", "reason": "", "messages_recorded": null, "messages_sent": 5, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "", "arrow_bytes": 0, "batches": 0, "row_bytes_max": 0, "start_ns": 1700002000000300000, "end_ns": 1700002000400300000}, {"name": "/diagnostics", "msgtype": "", "outcome": "mapped", "platform_name": "/diagnostics", "ontology_tag": "", "reason": "", "messages_recorded": null, "messages_sent": 1, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "", "arrow_bytes": 0, "batches": 0, "row_bytes_max": 0, "start_ns": 1700002000000300000, "end_ns": 1700002000000300000}], "losses": [], "contradictions": {}, "healthy": true, "messages_unverifiable": 0, "verification": "counts", "recorded_bytes": 0, "seconds": 0.004663855999751831, "notes": [], "replaced": null, "already_there": false, "contents": [{"sequence": "again_2db6f9dbd795", "fingerprint": "2db6f9dbd795f82223db192eb8268dafb0775e79a54128fca080e6dae14c83ea", "parts": ["e8483562aae5c06b01d66f26fe57d4d596edb094762fb81e8801eae2ec4a1fd6"], "topics": {"/imu/data": [50, 1700002000000300000, 1700002000490300000], "/odom": [25, 1700002000000300000, 1700002000480300000], "/tf": [25, 1700002000000300000, 1700002000480300000], "/joint_states": [25, 1700002000000300000, 1700002000480300000], "/gps/fix": [5, 1700002000000300000, 1700002000400300000], "/camera/front/image_raw": [5, 1700002000000300000, 1700002000400300000], "/lidar/points": [5, 1700002000000300000, 1700002000400300000], "/diagnostics": [1, 1700002000000300000, 1700002000000300000]}, "level": "counts"}], "parts_before": 1, "parts": 1, "missing": [], "messages_sent": 141, "messages_skipped": 0, "salvaged": false, "complete": true, "shortfalls": []}');
INSERT INTO "reports" VALUES(4,'{"recording": "/recordings/cut.mcap", "sequence": "cut_843e460aa903", "fingerprint": "843e460aa903a8c95221daa23215b8690c188fe55bf7826514ec78566a40444b", "sha256": {}, "topics": [{"name": "/imu/data", "msgtype": "sensor_msgs/msg/Imu", "outcome": "mapped", "platform_name": "/imu/data", "ontology_tag": "IMU", "reason": "", "messages_recorded": null, "messages_sent": 16, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "lz4", "arrow_bytes": 6568, "batches": 1, "row_bytes_max": 557, "start_ns": 1700001000340300000, "end_ns": 1700001000490300000}, {"name": "/odom", "msgtype": "nav_msgs/msg/Odometry", "outcome": "mapped", "platform_name": "/odom", "ontology_tag": "MotionState", "reason": "", "messages_recorded": null, "messages_sent": 8, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "lz4", "arrow_bytes": 8117, "batches": 1, "row_bytes_max": 1750, "start_ns": 1700001000340300000, "end_ns": 1700001000480300000}, {"name": "/tf", "msgtype": "tf2_msgs/msg/TFMessage", "outcome": "mapped", "platform_name": "/tf", "ontology_tag": "FrameTransform", "reason": "", "messages_recorded": null, "messages_sent": 8, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "lz4", "arrow_bytes": 3845, "batches": 1, "row_bytes_max": 737, "start_ns": 1700001000340300000, "end_ns": 1700001000480300000}, {"name": "/joint_states", "msgtype": "sensor_msgs/msg/JointState", "outcome": "mapped", "platform_name": "/joint_states", "ontology_tag": "RobotJoint", "reason": "", "messages_recorded": null, "messages_sent": 8, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "", "arrow_bytes": 1761, "batches": 1, "row_bytes_max": 329, "start_ns": 1700001000340300000, "end_ns": 1700001000480300000}, {"name": "/gps/fix", "msgtype": "sensor_msgs/msg/NavSatFix", "outcome": "mapped", "platform_name": "/gps/fix", "ontology_tag": "GPS", "reason": "", "messages_recorded": null, "messages_sent": 1, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "", "arrow_bytes": 232, "batches": 1, "row_bytes_max": 2224, "start_ns": 1700001000400300000, "end_ns": 1700001000400300000}, {"name": "/camera/front/image_raw", "msgtype": "sensor_msgs/msg/Image", "outcome": "mapped", "platform_name": "/camera/front/image_raw", "ontology_tag": "Image", "reason": "", "messages_recorded": null, "messages_sent": 1, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "lz4", "arrow_bytes": 230472, "batches": 1, "row_bytes_max": 231336, "start_ns": 1700001000400300000, "end_ns": 1700001000400300000}, {"name": "/lidar/points", "msgtype": "sensor_msgs/msg/PointCloud2", "outcome": "mapped", "platform_name": "/lidar/points", "ontology_tag": "PointCloud2", "reason": "", "messages_recorded": null, "messages_sent": 1, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "", "arrow_bytes": 131229, "batches": 1, "row_bytes_max": 132360, "start_ns": 1700001000400300000, "end_ns": 1700001000400300000}, {"name": "/diagnostics", "msgtype": "diagnostic_msgs/msg/DiagnosticArray", "outcome": "empty", "platform_name": "/diagnostics", "ontology_tag": "DiagnosticArray", "reason": "no messages", "messages_recorded": null, "messages_sent": 0, "messages_skipped": {}, "noted": {}, "messages_leftover": 0, "messages_repaired": {}, "texts_changed": 0, "compression": "", "arrow_bytes": 0, "batches": 0, "row_bytes_max": 0, "start_ns": null, "end_ns": null}], "losses": [{"path": "/recordings/cut.mcap", "start_bytes": 391672, "end_bytes": 392220, "reason": "the file ends inside a record", "verifiable": false}], "contradictions": {}, "healthy": false, "messages_unverifiable": 43, "verification": "counts", "recorded_bytes": 392220, "seconds": 0.12669362099950376, "notes": [], "replaced": null, "already_there": false, "contents": [{"sequence": "cut_843e460aa903", "fingerprint": "843e460aa903a8c95221daa23215b8690c188fe55bf7826514ec78566a40444b", "parts": ["843e460aa903a8c95221daa23215b8690c188fe55bf7826514ec78566a40444b"], "topics": {"/imu/data": [16, 1700001000340300000, 1700001000490300000], "/odom": [8, 1700001000340300000, 1700001000480300000], "/tf": [8, 1700001000340300000, 1700001000480300000], "/joint_states": [8, 1700001000340300000, 1700001000480300000], "/gps/fix": [1, 1700001000400300000, 1700001000400300000], "/camera/front/image_raw": [1, 1700001000400300000, 1700001000400300000], "/lidar/points": [1, 1700001000400300000, 1700001000400300000]}, "level": "counts"}], "parts_before": 0, "parts": 1, "missing": [], "messages_sent": 43, "messages_skipped": 0, "salvaged": true, "complete": false, "shortfalls": ["548 bytes unreadable in 1 place", "the recorder did not close the recording"]}');
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
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F73656E74',1,'0808c09bf0d6178c42c02fe75895fa5168414784e562cfa417a62507aaffa047');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F616761696E',2,'08cbbc42775f30924a57bcdfe05f9a798c9842cd340499cd70e6f6753c5ae019');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F616C6F6E652E6D636170',3,'2d8169d436f6f56a84164ab191c6d6b2769257eda11b794f8e423cb7bf0305c4');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F6375742E6D636170',4,'4f252e4c48757e257a2af540f7056453d8a06c627be70234ce817a7d12ed2d30');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F62726F6B656E2E6D636170',5,'ac48782c76573549fd038633fc70148c5eb8ed03d3308a135a09bc25fafc352b');
INSERT INTO "sightings" VALUES(X'2F7265636F7264696E67732F6C617465',6,'120fbd00f2df2553db319fd8be9ffa3ff4781ba51bf8339ea435a1772bb3898b');
CREATE TABLE transitions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
        before TEXT,
        after TEXT NOT NULL,
        at_ns INTEGER NOT NULL,
        reason TEXT NOT NULL
    );
INSERT INTO "transitions" VALUES(1,1,NULL,'discovered',1795905959294772106,'seen by a scan');
INSERT INTO "transitions" VALUES(2,2,NULL,'discovered',1795905959295057809,'seen by a scan');
INSERT INTO "transitions" VALUES(3,3,NULL,'discovered',1795905959295138249,'seen by a scan');
INSERT INTO "transitions" VALUES(4,4,NULL,'discovered',1795905959295204747,'seen by a scan');
INSERT INTO "transitions" VALUES(5,5,NULL,'discovered',1795905959295272267,'seen by a scan');
INSERT INTO "transitions" VALUES(6,1,'discovered','ready',1795905959303559419,'every file has its end and nobody writes');
INSERT INTO "transitions" VALUES(7,2,'discovered','ready',1795905959309110018,'every file has its end and nobody writes');
INSERT INTO "transitions" VALUES(8,3,'discovered','ready',1795905959312806362,'every file has its end and nobody writes');
INSERT INTO "transitions" VALUES(9,4,'discovered','settling',1795905959315202931,'cut.mcap has no proper end; taken as it is once nothing has changed for 0 s');
INSERT INTO "transitions" VALUES(10,5,'discovered','settling',1795905959315401475,'the file is text, not a recording');
INSERT INTO "transitions" VALUES(11,4,'settling','ready',1795905959809284856,'cut.mcap has no proper end, and nothing has changed for 1 s');
INSERT INTO "transitions" VALUES(12,5,'settling','quarantined',1795905959812660975,'the file is text, not a recording');
INSERT INTO "transitions" VALUES(13,1,'ready','sending',1795905960995608912,'attempt 1, worker 1');
INSERT INTO "transitions" VALUES(14,1,'sending','verified',1795905961334929928,'the platform has what was sent');
INSERT INTO "transitions" VALUES(15,1,'verified','finalised',1795905961342152994,'141 messages on the platform, verified: counts (141 unverifiable: no checksum in the files)');
INSERT INTO "transitions" VALUES(16,2,'ready','sending',1795905961345380143,'attempt 1, worker 1');
INSERT INTO "transitions" VALUES(17,2,'sending','verified',1795905961562320033,'the platform has what was sent');
INSERT INTO "transitions" VALUES(18,2,'verified','finalised',1795905961568024230,'141 messages on the platform, verified: counts (141 unverifiable: no checksum in the files)');
INSERT INTO "transitions" VALUES(19,3,'ready','sending',1795905961570122557,'attempt 1, worker 1');
INSERT INTO "transitions" VALUES(20,3,'sending','finalised',1795905961606931345,'141 messages on the platform, verified: counts');
INSERT INTO "transitions" VALUES(21,4,'ready','sending',1795905961608492476,'attempt 1, worker 1');
INSERT INTO "transitions" VALUES(22,4,'sending','verified',1795905961741477875,'the platform has what was sent');
INSERT INTO "transitions" VALUES(23,4,'verified','partial',1795905961749848010,'43 messages on the platform, in part: 548 bytes unreadable in 1 place; the recorder did not close the recording (43 unverifiable: no checksum in the files)');
INSERT INTO "transitions" VALUES(24,6,NULL,'discovered',1795905964406815268,'seen by a scan');
INSERT INTO "transitions" VALUES(25,6,'discovered','ready',1795905964428765613,'every file has its end and nobody writes');
CREATE UNIQUE INDEX entries_by_content ON entries (fingerprint)
        WHERE fingerprint != '' AND duplicate_of IS NULL;
CREATE INDEX entries_by_state ON entries (state, priority, modified_ns, id);
CREATE INDEX entries_by_path ON entries (path);
CREATE INDEX transitions_by_entry ON transitions (entry_id, id);
CREATE INDEX sightings_by_entry ON sightings (entry_id);
CREATE INDEX entries_by_name ON entries (name);
CREATE INDEX entries_by_whole ON entries (split_of) WHERE split_of != '';
CREATE INDEX entries_with_upload ON entries (id) WHERE upload IS NOT NULL;
CREATE INDEX parts_by_identity ON parts (identity) WHERE identity != '';
CREATE INDEX parts_by_name ON parts (name, size_bytes) WHERE identity = '';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('entries',6);
INSERT INTO "sqlite_sequence" VALUES('transitions',25);
COMMIT;
PRAGMA user_version = 6;
