module supalove.cloud/lab/asker

go 1.26
