package dynamodb

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Description is how the table is set up, apart from its schema.
type Description struct {
	TTL     bool // expired items are deleted: [TTLAttribute]
	Backups bool // there are point-in-time backups
}

// Single returns ErrGlobal if the table has replicas in other regions. A write
// there does not see the conditions of a write here: of two processes that take
// one lease both would have it, and the later save would win.
func (s *Store) Single(ctx context.Context) error {
	out, err := s.API.DescribeTable(ctx, &ddb.DescribeTableInput{TableName: &s.Table})
	if err == nil && out.Table != nil && (len(out.Table.Replicas) > 0 || aws.ToString(out.Table.GlobalTableVersion) == "2017.11.29") {
		err = ErrGlobal
	}
	return explain("looking at the table", s.Table, err)
}

// Describe says how the table is set up. A restored one has neither backups nor
// deletes it expired items, until somebody switches them on.
func (s *Store) Describe(ctx context.Context) (d Description, err error) {
	ttl, err := s.API.DescribeTimeToLive(ctx, &ddb.DescribeTimeToLiveInput{TableName: &s.Table})
	if err != nil {
		return d, explain("asking whether expired items are deleted", s.Table, err)
	}
	if t := ttl.TimeToLiveDescription; t != nil {
		on := t.TimeToLiveStatus == types.TimeToLiveStatusEnabled || t.TimeToLiveStatus == types.TimeToLiveStatusEnabling
		d.TTL = on && aws.ToString(t.AttributeName) == TTLAttribute
	}
	backups, err := s.API.DescribeContinuousBackups(ctx, &ddb.DescribeContinuousBackupsInput{TableName: &s.Table})
	if err != nil {
		return d, explain("asking for point-in-time backups", s.Table, err)
	}
	if b := backups.ContinuousBackupsDescription; b != nil && b.PointInTimeRecoveryDescription != nil {
		d.Backups = b.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus == types.PointInTimeRecoveryStatusEnabled
	}
	return d, nil
}
