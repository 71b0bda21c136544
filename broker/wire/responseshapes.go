package wire

// responseShapes are the layouts of the answers that DecodeResponse reads: those
// that one broker gives another. A test holds them against kmsg's encoders and
// decoders.
var responseShapes = map[int16]group{
	Fetch: {
		fields: []field{
			bytesOf(4).since(1),            // throttle
			bytesOf(2).since(7),            // error code
			bytesOf(4).since(7),            // session id
			array(fetchResponseTopic()...), // topics
		},
		tagged: []field{
			array(bytesOf(4), str(), bytesOf(4), nullableStr()), // brokers
		},
	},
	ListOffsets: {
		fields: []field{
			bytesOf(4).since(2), // throttle
			array( // topics
				str(),
				array( // partitions
					bytesOf(4),          // index
					bytesOf(2),          // error code
					arrayOf(8).until(0), // offsets
					bytesOf(8).since(1), // timestamp
					bytesOf(8).since(1), // offset
					bytesOf(4).since(4), // leader epoch
				),
			),
		},
	},
	LeaderAndISR: {
		fields: []field{
			bytesOf(2), // error code
			array( // partitions
				str(),
				bytesOf(4), // index
				bytesOf(2), // error code
			).until(4),
			array( // topics
				bytesOf(16), // topic id
				array( // partitions
					bytesOf(4), // index
					bytesOf(2), // error code
				),
			).since(5),
		},
	},
	StopReplica: {
		fields: []field{
			bytesOf(2), // error code
			array( // partitions
				str(),
				bytesOf(4), // index
				bytesOf(2), // error code
			),
		},
	},
	UpdateMetadata: {fields: []field{bytesOf(2)}}, // error code
	ControlledShutdown: {
		fields: []field{
			bytesOf(2),               // error code
			array(str(), bytesOf(4)), // partitions that remain
		},
	},
	APIVersions: {
		fields: []field{
			bytesOf(2), // error code
			array(bytesOf(2), bytesOf(2), bytesOf(2)), // key, versions
			bytesOf(4).since(1),                       // throttle
		},
		tagged: []field{
			array(str(), bytesOf(2), bytesOf(2)), // supported features
			bytesOf(8),                           // epoch of the finalized features
			array(str(), bytesOf(2), bytesOf(2)), // finalized features
			bytesOf(1),                           // ready to leave ZooKeeper
		},
	},
	OffsetForLeaderEpoch: {
		fields: []field{
			bytesOf(4).since(2), // throttle
			array( // topics
				str(),
				array( // partitions
					bytesOf(2),          // error code
					bytesOf(4),          // index
					bytesOf(4).since(1), // leader epoch
					bytesOf(8),          // end offset
				),
			),
		},
	},
	AlterPartition: {
		fields: []field{
			bytesOf(4), // throttle
			bytesOf(2), // error code
			array( // topics
				str().until(1),
				bytesOf(16).since(2), // topic id
				array( // partitions
					bytesOf(4),          // index
					bytesOf(2),          // error code
					bytesOf(4),          // leader
					bytesOf(4),          // leader epoch
					arrayOf(4),          // ISR
					bytesOf(1).since(1), // leader recovery state
					bytesOf(4),          // partition epoch
				),
			),
		},
	},
	AllocateProducerIDs: {
		fields: []field{
			bytesOf(4), // throttle
			bytesOf(2), // error code
			bytesOf(8), // first id
			bytesOf(4), // how many
		},
	},
}

func fetchResponseTopic() []field {
	return []field{
		str().until(12),
		bytesOf(16).since(13), // topic id
		array( // partitions
			bytesOf(4),          // index
			bytesOf(2),          // error code
			bytesOf(8),          // high watermark
			bytesOf(8).since(4), // last stable offset
			bytesOf(8).since(5), // log start offset
			array( // aborted transactions
				bytesOf(8), // producer id
				bytesOf(8), // first offset
			).since(4),
			bytesOf(4).since(11), // preferred read replica
			nullableBytes(),      // records
		).tags(
			structure(bytesOf(4), bytesOf(8)), // diverging epoch
			structure(bytesOf(4), bytesOf(4)), // current leader
			structure(bytesOf(8), bytesOf(4)), // snapshot
		),
	}
}
