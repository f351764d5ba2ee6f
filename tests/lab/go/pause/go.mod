module supalove.cloud/lab/pause

go 1.26
