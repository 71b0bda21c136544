// Package modelcheck runs the rules of broker/replica and broker/controller in a
// cluster without sockets, disks or clocks, and holds what comes of it against what a
// region promises. It has tests only.
//
// What surrounds the rules is a model: brokers with a log in memory, of which a power
// cut takes what was not durable; ZooKeeper with sessions, versions and the fence of
// the controller's epoch; requests that are late, lost, made again, or delivered after
// their sender gave them up; links that are cut one way; processes that freeze; clients
// that produce and consume. All of it is one goroutine and a queue of events in the
// order of a simulated time, and every choice comes from one seed, so that a seed is a
// history that can be seen again.
package modelcheck
