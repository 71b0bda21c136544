package wire

// shapes are the layouts of the requests that Decode reads, by API key, in the
// order and with the versions of Kafka's message definitions. A test holds them
// against kmsg's encoders and decoders.
var shapes = map[int16]group{
	Fetch: {
		fields: []field{
			bytesOf(4).until(14), // replica id
			bytesOf(4),           // max wait
			bytesOf(4),           // min bytes
			bytesOf(4).since(3),  // max bytes
			bytesOf(1).since(4),  // isolation level
			bytesOf(8).since(7),  // session id, session epoch
			array( // topics
				str().until(12),
				bytesOf(16).since(13), // topic id
				array( // partitions
					bytesOf(4),
					bytesOf(4).since(9),  // current leader epoch
					bytesOf(8),           // fetch offset
					bytesOf(4).since(12), // last fetched epoch
					bytesOf(8).since(5),  // log start offset
					bytesOf(4),           // partition max bytes
				).tags(
					bytesOf(16), // replica directory id
					bytesOf(8),  // high watermark
				),
			),
			array( // forgotten topics
				str().until(12),
				bytesOf(16).since(13), // topic id
				arrayOf(4),            // partitions
			).since(7),
			str().since(11), // rack
		},
		tagged: []field{
			nullableStr(),                     // cluster id
			structure(bytesOf(4), bytesOf(8)), // replica id, replica epoch
		},
	},
	ListOffsets: {
		fields: []field{
			bytesOf(4),          // replica id
			bytesOf(1).since(2), // isolation level
			array( // topics
				str(),
				array( // partitions
					bytesOf(4),
					bytesOf(4).since(4), // current leader epoch
					bytesOf(8),          // timestamp
					bytesOf(4).until(0), // max offsets
				),
			),
			bytesOf(4).since(10), // timeout
		},
	},
	Metadata: {
		fields: []field{
			array( // topics
				bytesOf(16).since(10), // topic id
				str().until(9),
				nullableStr().since(10),
			),
			bytesOf(1).since(4),           // allow auto topic creation
			bytesOf(1).since(8).until(10), // include cluster authorized operations
			bytesOf(1).since(8),           // include topic authorized operations
		},
	},
	OffsetCommit: {
		fields: []field{
			str(),                        // group
			bytesOf(4).since(1),          // generation
			str().since(1),               // member id
			nullableStr().since(7),       // instance id
			bytesOf(8).since(2).until(4), // retention
			array( // topics
				str().until(9),
				bytesOf(16).since(10), // topic id
				array( // partitions
					bytesOf(4),
					bytesOf(8),                   // offset
					bytesOf(8).since(1).until(1), // timestamp
					bytesOf(4).since(6),          // leader epoch
					nullableStr(),                // metadata
				),
			),
		},
	},
	OffsetFetch: {
		fields: []field{
			str().until(7), // group
			array( // topics
				str(),
				arrayOf(4), // partitions
			).until(7),
			array( // groups
				str(),
				nullableStr().since(9), // member id
				bytesOf(4).since(9),    // member epoch
				array( // topics
					str().until(9),
					bytesOf(16).since(10), // topic id
					arrayOf(4),            // partitions
				),
			).since(8),
			bytesOf(1).since(7), // require stable
		},
	},
	FindCoordinator: {
		fields: []field{
			str().until(3),      // key
			bytesOf(1).since(1), // key type
			strings().since(4),  // keys
		},
	},
	JoinGroup: {
		fields: []field{
			str(),                  // group
			bytesOf(4),             // session timeout
			bytesOf(4).since(1),    // rebalance timeout
			str(),                  // member id
			nullableStr().since(5), // instance id
			str(),                  // protocol type
			array( // protocols
				str(),
				someBytes(), // metadata
			),
			nullableStr().since(8), // reason
		},
	},
	Heartbeat: {
		fields: []field{
			str(),                  // group
			bytesOf(4),             // generation
			str(),                  // member id
			nullableStr().since(3), // instance id
		},
	},
	LeaveGroup: {
		fields: []field{
			str(),          // group
			str().until(2), // member id
			array( // members
				str(),
				nullableStr(),          // instance id
				nullableStr().since(5), // reason
			).since(3),
		},
	},
	SyncGroup: {
		fields: []field{
			str(),                  // group
			bytesOf(4),             // generation
			str(),                  // member id
			nullableStr().since(3), // instance id
			nullableStr().since(5), // protocol type
			nullableStr().since(5), // protocol
			array( // assignments
				str(), // member id
				someBytes(),
			),
		},
	},
	DescribeGroups: {
		fields: []field{
			strings(),           // groups
			bytesOf(1).since(3), // include authorized operations
		},
	},
	ListGroups: {
		fields: []field{
			strings().since(4), // states
			strings().since(5), // types
		},
	},
	APIVersions: {
		fields: []field{
			str().since(3),         // client software name
			str().since(3),         // client software version
			nullableStr().since(5), // cluster id
			bytesOf(4).since(5),    // node id
		},
	},
	CreateTopics: {
		fields: []field{
			array( // topics
				str(),
				bytesOf(4), // partitions
				bytesOf(2), // replication factor
				array( // assignment
					bytesOf(4), // partition
					arrayOf(4), // replicas
				),
				array( // settings
					str(),
					nullableStr(),
				),
			),
			bytesOf(4),          // timeout
			bytesOf(1).since(1), // validate only
		},
	},
	DeleteTopics: {
		fields: []field{
			strings().until(5), // names
			array( // topics
				nullableStr(),
				bytesOf(16), // topic id
			).since(6),
			bytesOf(4), // timeout
		},
	},
	DeleteRecords: {
		fields: []field{
			array( // topics
				str(),
				array( // partitions
					bytesOf(4),
					bytesOf(8), // offset
				),
			),
			bytesOf(4), // timeout
		},
	},
	InitProducerID: {
		fields: []field{
			nullableStr(),       // transactional id
			bytesOf(4),          // transaction timeout
			bytesOf(8).since(3), // producer id
			bytesOf(2).since(3), // producer epoch
		},
	},
	OffsetForLeaderEpoch: {
		fields: []field{
			bytesOf(4).since(3), // replica id
			array( // topics
				str(),
				array( // partitions
					bytesOf(4),
					bytesOf(4).since(2), // current leader epoch
					bytesOf(4),          // leader epoch
				),
			),
		},
	},
	DescribeACLs: {
		fields: []field{
			bytesOf(1),          // resource type
			nullableStr(),       // resource name
			bytesOf(1).since(1), // pattern type
			nullableStr(),       // principal
			nullableStr(),       // host
			bytesOf(1),          // operation
			bytesOf(1),          // permission type
		},
	},
	DescribeConfigs: {
		fields: []field{
			array( // resources
				bytesOf(1), // type
				str(),
				strings(), // names of settings
			),
			bytesOf(1).since(1), // include synonyms
			bytesOf(1).since(3), // include documentation
		},
	},
	AlterConfigs: {
		fields: []field{
			array( // resources
				bytesOf(1), // type
				str(),
				array( // settings
					str(),
					nullableStr(),
				),
			),
			bytesOf(1), // validate only
		},
	},
	AlterReplicaLogDirs: {
		fields: []field{
			array( // directories
				str(),
				array( // topics
					str(),
					arrayOf(4), // partitions
				),
			),
		},
	},
	DescribeLogDirs: {
		fields: []field{
			array( // topics
				str(),
				arrayOf(4), // partitions
			),
		},
	},
	CreatePartitions: {
		fields: []field{
			array( // topics
				str(),
				bytesOf(4), // partitions then
				array( // assignment of each new one
					arrayOf(4), // replicas
				),
			),
			bytesOf(4), // timeout
			bytesOf(1), // validate only
		},
	},
	DeleteGroups: {
		fields: []field{
			strings(), // groups
		},
	},
	ElectLeaders: {
		fields: []field{
			bytesOf(1).since(1), // election type
			array( // topics
				str(),
				arrayOf(4), // partitions
			),
			bytesOf(4), // timeout
		},
	},
	IncrementalAlterConfigs: {
		fields: []field{
			array( // resources
				bytesOf(1), // type
				str(),
				array( // settings
					str(),
					bytesOf(1), // operation
					nullableStr(),
				),
			),
			bytesOf(1), // validate only
		},
	},
	AlterPartitionReassignments: {
		fields: []field{
			bytesOf(4),          // timeout
			bytesOf(1).since(1), // allow another replication factor
			array( // topics
				str(),
				array( // partitions
					bytesOf(4),
					arrayOf(4), // replicas
				),
			),
		},
	},
	ListPartitionReassignments: {
		fields: []field{
			bytesOf(4), // timeout
			array( // topics
				str(),
				arrayOf(4), // partitions
			),
		},
	},
	OffsetDelete: {
		fields: []field{
			str(), // group
			array( // topics
				str(),
				array( // partitions
					bytesOf(4),
				),
			),
		},
	},
	DescribeCluster: {
		fields: []field{
			bytesOf(1),          // include cluster authorized operations
			bytesOf(1).since(1), // endpoint type
			bytesOf(1).since(2), // include fenced brokers
		},
	},
	DescribeClientQuotas: {
		fields: []field{
			array( // components
				str(),      // entity type
				bytesOf(1), // match type
				nullableStr(),
			),
			bytesOf(1), // strict
		},
	},
	AlterClientQuotas: {
		fields: []field{
			array( // entries
				array( // entity
					str(), // type
					nullableStr(),
				),
				array( // operations
					str(),      // key
					bytesOf(8), // value
					bytesOf(1), // remove
				),
			),
			bytesOf(1), // validate only
		},
	},
	DescribeProducers: {
		fields: []field{
			array( // topics
				str(),
				arrayOf(4), // partitions
			),
		},
	},
	DescribeTopicPartitions: {
		fields: []field{
			array( // topics
				str(),
			),
			bytesOf(4), // at most so many partitions in the answer
			nullableStructure( // cursor
				str(),
				bytesOf(4), // partition
			),
		},
	},
}
