// Package cost works out what keyrot costs in AWS each month. It is pure
// arithmetic: the numbers of operations are those that keyrot's own stores
// make, which a test counts, and the prices are AWS's list prices in
// us-east-1, in US dollars, without free tiers except where a price says so.
package cost

import (
	"fmt"
	"math"
	"time"
)

// Month is the 730 hours that AWS's calculators take.
const Month = 730 * time.Hour

// Prices, in US dollars, as generally known; those of Lambda, API Gateway and
// CloudWatch were not checked against AWS's pages.
const (
	dynamoWrite = 0.625e-6 // per write unit of 1 kB, on demand (DynamoDB pricing, since November 2024)
	dynamoRead  = 0.125e-6 // per read unit of 4 kB, on demand
	dynamoGB    = 0.25     // stored, a month
	backupGB    = 0.20     // of a table with point-in-time recovery, a month
	writeUnit   = 0.00065  // provisioned, an hour
	readUnit    = 0.00013
	kmsKey      = 1.0 // per customer-managed key (AWS KMS pricing)
	kmsRequest  = 0.03 / 10_000
	kmsFree     = 20_000      // requests a month
	lambdaCall  = 0.20 / 1e6  // per request (AWS Lambda pricing)
	lambdaGBs   = 13.33334e-6 // per GB-second on arm64
	gateway     = 3.50 / 1e6  // per REST API request (API Gateway pricing)
	alarm       = 0.10        // (CloudWatch pricing)
	metric      = 0.30        // custom metric
	logGB       = 0.50        // ingested
	smSecret    = 0.40        // per secret (Secrets Manager pricing)
	smCall      = 0.05 / 10_000
	trailEvent  = 2.00 / 100_000 // a management event in a second trail (AWS CloudTrail pricing); the first trail is free
	guardEvent  = 4.00 / 1e6     // a management event that is looked at (Amazon GuardDuty pricing)
)

// Operations of DynamoDB and KMS, in units. WriteUnits also counts what the due
// index's copy of an item costs.
type Operations struct {
	ReadUnits, WriteUnits, KMSCalls float64
}

// What the table and KMS are asked for in one rotation of a user, with the
// audit log; for one user of a listing; in one hand-out; and for one request of
// an agent that holds the key already. The numbers are counted by TestCost of
// pkg/store/dynamodb.
var (
	PerRotation = Operations{ReadUnits: 11, WriteUnits: 25, KMSCalls: 1.33}
	PerLook     = Operations{ReadUnits: 0.25}
	PerHandout  = Operations{ReadUnits: 2, WriteUnits: 4.15, KMSCalls: 1.1}
	PerPoll     = Operations{ReadUnits: 1}
)

// What one rotation and one hand-out leave in a table, in bytes with DynamoDB's
// own. Of the audit log: for ever, as nothing of it is deleted. Of the index of
// hand-outs: 90 days. Counted by the same test.
const (
	RotationBytes = 6859.
	HandoutBytes  = 530.
	HistoryBytes  = 222.
)

// EventsPerRotation is how many management events CloudTrail has of a rotation
// and a hand-out: 5 calls of IAM and 7 of STS, which rotate.TestFewCalls counts,
// and 2 of KMS.
const EventsPerRotation = 14

// Load is how keyrot is used.
type Load struct {
	Users       int
	RotateEvery time.Duration
	// Handouts is how many keys each user's callers ask for in each rotation.
	// Zero: one.
	Handouts float64
	// Agents is how many agents each user has, that ask twice a minute whether
	// the key is another.
	Agents float64
	// Tick is how often every user is looked at. Zero: a minute.
	Tick time.Duration
}

func (l Load) withDefaults() Load {
	if l.Tick <= 0 {
		l.Tick = time.Minute
	}
	if l.Handouts <= 0 {
		l.Handouts = 1
	}
	return l
}

// Line is one item of a bill.
type Line struct {
	Name    string  `json:"name"`
	Dollars float64 `json:"dollars"` // a month
}

// Bill is the monthly cost of one way to run keyrot.
type Bill struct {
	Name  string `json:"name"`
	Lines []Line `json:"lines"`
}

// Total of all lines.
func (b Bill) Total() (sum float64) {
	for _, l := range b.Lines {
		sum += l.Dollars
	}
	return sum
}

// Bills works out each way to run keyrot under the load.
func Bills(l Load) []Bill {
	l = l.withDefaults()
	table := l.table()
	return []Bill{
		{"serve with SQLite", []Line{{"the machine is yours", 0}}},
		{"serve with DynamoDB", table},
		{"the deployed stack", append(table[:len(table):len(table)], l.stack()...)},
		{"Secrets Manager, for comparison", l.secretsManager()},
		{"beside either of them, if the account has it", []Line{
			{"CloudTrail, each trail after the first", l.rotations() * EventsPerRotation * trailEvent},
			{"GuardDuty", l.rotations() * EventsPerRotation * guardEvent},
		}},
	}
}

// polls is how many requests of agents there are in a month.
func (l Load) polls() float64 { return float64(l.Users) * l.Agents * Month.Minutes() * 2 }

func (l Load) rotations() float64 {
	return float64(l.Users) * Month.Seconds() / l.RotateEvery.Seconds()
}

// LogGrowth is by how many bytes the table's audit log grows in a month.
func (l Load) LogGrowth() float64 {
	return l.rotations() * (RotationBytes + max(l.Handouts, 1)*HandoutBytes)
}

// table is the store with its KMS key.
func (l Load) table() []Line {
	units, calls := l.units()
	c := l.Capacity()
	stored := (12*l.LogGrowth() + 90/30*l.rotations()*l.Handouts*HistoryBytes) / 1e9
	lines := []Line{
		{"DynamoDB reads, on demand", units.ReadUnits * dynamoRead},
		{"DynamoDB writes, on demand", units.WriteUnits * dynamoWrite},
	}
	if c != (Capacity{}) {
		lines = []Line{
			{fmt.Sprintf("DynamoDB reads, %d units provisioned", c.Read+c.IndexRead), c.reads()},
			{fmt.Sprintf("DynamoDB writes, %d units provisioned", c.Write+c.IndexWrite), c.writes()},
		}
	}
	return append(lines,
		Line{"DynamoDB storage of a year's audit log, and hand-outs", stored * dynamoGB},
		Line{"its point-in-time backup", stored * backupGB},
		Line{"KMS key", kmsKey},
		Line{"KMS requests", max(0, calls-kmsFree) * kmsRequest},
	)
}

// units is what a month takes of the table, and the calls of KMS.
func (l Load) units() (units Operations, calls float64) {
	for _, o := range []struct {
		times float64
		Operations
	}{
		{float64(l.Users) * Month.Seconds() / l.Tick.Seconds(), PerLook},
		{l.rotations(), PerRotation},
		{l.rotations() * l.Handouts, PerHandout},
		{l.polls(), PerPoll},
	} {
		units.ReadUnits += o.times * o.ReadUnits
		units.WriteUnits += o.times * o.WriteUnits
		calls += o.times * o.KMSCalls
	}
	return units, calls
}

// Capacity is what is provisioned of a table and of its due index, in units a
// second. Zero: nothing, it is paid on demand.
type Capacity struct {
	Read       int `json:"read"`
	Write      int `json:"write"`
	IndexRead  int `json:"index_read"`
	IndexWrite int `json:"index_write"`
}

// Rotation is a steady load, of which a provisioned table with room for twice as
// much costs half of what it costs on demand. DynamoDB lends what was not used in
// the last 5 minutes, which takes the peak of each tick.
const (
	headroom   = 2
	indexRead  = 5  // a question each second
	indexWrite = 10 // users that are enrolled, or have orders
	worthwhile = 10 // dollars a month
)

// Capacity is what to provision of the table, if that is cheaper by some dollars.
func (l Load) Capacity() Capacity {
	l = l.withDefaults()
	units, _ := l.units()
	need := func(u float64) int { return int(math.Ceil(headroom * u / Month.Seconds())) }
	c := Capacity{max(need(units.ReadUnits), indexRead), max(need(units.WriteUnits), indexWrite), indexRead, indexWrite}
	if c.reads()+c.writes()+worthwhile > units.ReadUnits*dynamoRead+units.WriteUnits*dynamoWrite {
		return Capacity{}
	}
	return c
}

func (c Capacity) reads() float64 { return float64(c.Read+c.IndexRead) * readUnit * Month.Hours() }

func (c Capacity) writes() float64 { return float64(c.Write+c.IndexWrite) * writeUnit * Month.Hours() }

// What the functions take, in seconds: assumptions, not measurements.
const (
	memoryGB       = 0.25
	idlePass       = 0.2
	secondsOfUser  = 0.01 // a look at one user; Workers look side by side
	secondsOfCycle = 0.3  // one rotation, likewise
	secondsOfGive  = 0.05
	secondsOfPoll  = 0.01
	bytesOfLog     = 1500 // a pass or a request
)

func (l Load) stack() []Line {
	ticks := Month.Seconds() / l.Tick.Seconds()
	requests := 2 * l.rotations() * l.Handouts // a token, then the key
	pass := ticks*(idlePass+float64(l.Users)*secondsOfUser) + l.rotations()*secondsOfCycle
	function := func(calls, seconds float64) float64 { return calls*lambdaCall + seconds*memoryGB*lambdaGBs }
	return []Line{
		{"the rotator's function", function(ticks, pass)},
		{"the API's function, hand-outs", function(requests, requests*secondsOfGive)},
		{"the API's function, agents that ask", function(l.polls(), l.polls()*secondsOfPoll)},
		{"API Gateway, hand-outs", requests * gateway},
		{"API Gateway, agents that ask", l.polls() * gateway},
		{"logs", (ticks + requests + l.polls()) * bytesOfLog / 1e9 * logGB},
		{"5 alarms and 4 metrics", 5*alarm + 4*metric},
		{"the API key's secret", smSecret},
	}
}

// secretsManager is what others do: a version for each rotation. At less than
// 14.4 minutes that needs two secrets for each user, because of the quota of
// about 100 versions in 24 hours.
func (l Load) secretsManager() []Line {
	n := 1.0
	if l.RotateEvery < 24*time.Hour/100 {
		n = 2
	}
	return []Line{
		{"secrets", n * float64(l.Users) * smSecret},
		{"calls", l.rotations() * (1 + l.Handouts) * smCall},
	}
}
