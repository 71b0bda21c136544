package group

// State is where a group stands in the classic protocol.
type State int8

// The states, by Kafka's names.
const (
	Empty               State = iota // without members; it may have offsets
	PreparingRebalance               // waits for its members to join
	CompletingRebalance              // waits for the assignment, the leader's to make
	Stable
	Dead // gone, or about to go
)

var stateNames = [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}

// String returns the name that Kafka's tools show.
func (s State) String() string { return stateNames[s] }

// States are those that a group which can be found is in.
func States() []State { return []State{Empty, PreparingRebalance, CompletingRebalance, Stable} }
