// Package zk is what brokers have written in ZooKeeper, and the sessions to read and
// write it: Kafka's own contract, byte for byte, so that its tools and its brokers
// find what they know. docs/decisions/zookeeper-session.md says how a session is
// kept; each other file has the nodes of one noun.
//
// A Client keeps one Session after another, and hands each to a function. All that a
// session has, ephemeral nodes and watches, ends with it. Its end is told by our own
// clock: no later than ZooKeeper could say so, also while nothing is heard. A session
// has a connection of the library's to itself, so that nothing that was asked under
// one session is done under the next.
//
// Methods are any goroutine's. They wait until there is a connection, at most as long
// as a session lasts; contexts end the wait, not what was sent. Reads are repeated
// when an answer is lost. Writes are conditional, or leave the same whether they are
// done once or twice; when an answer is lost they are looked for. A read can take a
// Watch, which then says when what was read has changed.
//
// The room decides nothing: it translates between nodes and package cluster's words.
package zk
