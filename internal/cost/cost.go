// Package cost works out what keyrot costs in AWS each month. It is pure
// arithmetic: the numbers of operations are those that keyrot's own stores
// make, which a test counts, and the prices are AWS's list prices in
// us-east-1, in US dollars, without free tiers except where a price says so.
package cost

import "time"

// Month is the 730 hours that AWS's calculators take.
const Month = 730 * time.Hour

// Prices, in US dollars, as generally known; those of Lambda, API Gateway and
// CloudWatch were not checked against AWS's pages.
const (
	dynamoWrite = 0.625e-6 // per write unit of 1 kB, on demand (DynamoDB pricing, since November 2024)
	dynamoRead  = 0.125e-6 // per read unit of 4 kB, on demand
	dynamoGB    = 0.25     // stored, a month
	kmsKey      = 1.0      // per customer-managed key (AWS KMS pricing)
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
)

// Operations of DynamoDB and KMS, in units. WriteUnits also counts what the due
// index's copy of an item costs.
type Operations struct {
	ReadUnits, WriteUnits, KMSCalls float64
}

// What the table and KMS are asked for in one rotation of a user, with the
// audit log; in one look at a user with nothing due; and in one hand-out. The
// numbers are counted by TestCost of pkg/store/dynamodb.
var (
	PerRotation = Operations{ReadUnits: 11, WriteUnits: 25, KMSCalls: 1.33}
	PerLook     = Operations{ReadUnits: 1}
	PerHandout  = Operations{ReadUnits: 2, WriteUnits: 4.15, KMSCalls: 1.1}
)

// What one rotation and one hand-out leave in the audit log of a table, in bytes
// with DynamoDB's own: for ever, as nothing of the log is deleted. Counted by the
// same test.
const (
	RotationBytes = 6859.
	HandoutBytes  = 530.
)

// Load is how keyrot is used.
type Load struct {
	Users       int
	RotateEvery time.Duration
	// Handouts is how many keys each user's callers ask for in each rotation.
	// Zero: one.
	Handouts float64
	// Tick is how often every user is looked at. Zero: a minute.
	Tick time.Duration
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
	if l.Tick <= 0 {
		l.Tick = time.Minute
	}
	if l.Handouts <= 0 {
		l.Handouts = 1
	}
	table := l.table()
	return []Bill{
		{"serve with SQLite", []Line{{"the machine is yours", 0}}},
		{"serve with DynamoDB", table},
		{"the deployed stack", append(table[:len(table):len(table)], l.stack()...)},
		{"Secrets Manager, for comparison", l.secretsManager()},
	}
}

func (l Load) rotations() float64 {
	return float64(l.Users) * Month.Seconds() / l.RotateEvery.Seconds()
}

// LogGrowth is by how many bytes the table's audit log grows in a month.
func (l Load) LogGrowth() float64 {
	return l.rotations() * (RotationBytes + max(l.Handouts, 1)*HandoutBytes)
}

// table is the store with its KMS key.
func (l Load) table() []Line {
	looks, rotations := float64(l.Users)*Month.Seconds()/l.Tick.Seconds(), l.rotations()
	sum := func(f func(Operations) float64) float64 {
		return looks*f(PerLook) + rotations*(f(PerRotation)+l.Handouts*f(PerHandout))
	}
	calls := sum(func(o Operations) float64 { return o.KMSCalls })
	return []Line{
		{"DynamoDB reads", sum(func(o Operations) float64 { return o.ReadUnits }) * dynamoRead},
		{"DynamoDB writes", sum(func(o Operations) float64 { return o.WriteUnits }) * dynamoWrite},
		{"DynamoDB storage of a year's audit log", 12 * l.LogGrowth() / 1e9 * dynamoGB},
		{"KMS key", kmsKey},
		{"KMS requests", max(0, calls-kmsFree) * kmsRequest},
	}
}

// What the functions take, in seconds: assumptions, not measurements.
const (
	memoryGB       = 0.25
	idlePass       = 0.2
	secondsOfUser  = 0.01 // a look at one user; Workers look side by side
	secondsOfCycle = 0.3  // one rotation, likewise
	secondsOfGive  = 0.05
	bytesOfLog     = 1500 // a pass or a request
)

func (l Load) stack() []Line {
	ticks := Month.Seconds() / l.Tick.Seconds()
	requests := 2 * l.rotations() * l.Handouts // a token, then the key
	seconds := ticks*(idlePass+float64(l.Users)*secondsOfUser) + l.rotations()*secondsOfCycle + requests*secondsOfGive
	return []Line{
		{"Lambda requests", (ticks + requests) * lambdaCall},
		{"Lambda time", seconds * memoryGB * lambdaGBs},
		{"API Gateway", requests * gateway},
		{"logs", (ticks + requests) * bytesOfLog / 1e9 * logGB},
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
