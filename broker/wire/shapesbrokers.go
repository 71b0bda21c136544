package wire

import "maps"

func init() { maps.Copy(shapes, brokerShapes) }

// brokerShapes are the layouts of what brokers and the controller ask each other.
var brokerShapes = map[int16]group{
	LeaderAndISR: {
		fields: []field{
			bytesOf(4),                       // controller id
			bytesOf(1).since(7),              // is a KRaft controller
			bytesOf(4),                       // controller epoch
			bytesOf(8).since(2),              // broker epoch
			bytesOf(1).since(5),              // type
			array(orderFields()...).until(1), // partitions
			array( // topics
				str(),
				bytesOf(16).since(5), // topic id
				array(orderFields()...),
			).since(2),
			array( // live leaders
				bytesOf(4),
				str(), // host
				bytesOf(4),
			),
		},
	},
	StopReplica: {
		fields: []field{
			bytesOf(4),          // controller id
			bytesOf(1).since(4), // is a KRaft controller
			bytesOf(4),          // controller epoch
			bytesOf(8).since(1), // broker epoch
			bytesOf(1).until(2), // delete partitions
			array( // topics
				str(),
				bytesOf(4).until(0),          // partition
				arrayOf(4).since(1).until(2), // partitions
				array(
					bytesOf(4),
					bytesOf(4), // leader epoch
					bytesOf(1), // delete
				).since(3),
			),
		},
	},
	UpdateMetadata: {
		fields: []field{
			bytesOf(4),          // controller id
			bytesOf(1).since(8), // is a KRaft controller
			bytesOf(4),          // controller epoch
			bytesOf(8).since(5), // broker epoch
			array(stateFields()...).until(4),
			array( // topics
				str(),
				bytesOf(16).since(7), // topic id
				array(stateFields()...),
			).since(5),
			array( // live brokers
				bytesOf(4),
				str().until(0),      // host
				bytesOf(4).until(0), // port
				array( // endpoints
					bytesOf(4), // port
					str(),
					str().since(3), // listener
					bytesOf(2),     // security protocol
				).since(1),
				nullableStr().since(2), // rack
			),
		},
	},
	ControlledShutdown: {
		fields: []field{
			bytesOf(4),          // broker id
			bytesOf(8).since(2), // broker epoch
		},
	},
	AlterPartition: {
		fields: []field{
			bytesOf(4), // broker id
			bytesOf(8), // broker epoch
			array( // topics
				str().until(1),
				bytesOf(16).since(2), // topic id
				array( // partitions
					bytesOf(4),
					bytesOf(4),          // leader epoch
					arrayOf(4).until(2), // isr
					array( // isr
						bytesOf(4),
						bytesOf(8), // broker epoch
					).since(3),
					bytesOf(1).since(1), // leader recovery state
					bytesOf(4),          // partition epoch
				),
			),
		},
	},
	AllocateProducerIDs: {
		fields: []field{
			bytesOf(4), // broker id
			bytesOf(8), // broker epoch
		},
	},
}

// orderFields is a partition of LeaderAndISR.
func orderFields() []field {
	return []field{
		str().until(1),
		bytesOf(4),          // partition
		bytesOf(4),          // controller epoch
		bytesOf(4),          // leader
		bytesOf(4),          // leader epoch
		arrayOf(4),          // isr
		bytesOf(4),          // partition epoch
		arrayOf(4),          // replicas
		arrayOf(4).since(3), // adding
		arrayOf(4).since(3), // removing
		bytesOf(1).since(1), // is new
		bytesOf(1).since(6), // leader recovery state
	}
}

// stateFields is a partition of UpdateMetadata.
func stateFields() []field {
	return []field{
		str().until(4),
		bytesOf(4),          // partition
		bytesOf(4),          // controller epoch
		bytesOf(4),          // leader
		bytesOf(4),          // leader epoch
		arrayOf(4),          // isr
		bytesOf(4),          // partition epoch
		arrayOf(4),          // replicas
		arrayOf(4).since(4), // offline replicas
	}
}
