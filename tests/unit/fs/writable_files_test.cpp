// What passes through a mount that can be written is SOURCE's, whatever is done to it.
#include "writable_fixture.h"

namespace writable_files {
namespace {

using namespace ckptfs;        // NOLINT(google-build-using-namespace)
using namespace ckptfs::test;  // NOLINT(google-build-using-namespace)
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using WritableFiles = WritableTest;

TEST_F(WritableFiles, AreMadeAndReadInSource) {
    EXPECT_EQ(program_.mkdir("runs", 0700), 0);
    EXPECT_EQ(program_.write("runs/notes", "hello", O_WRONLY | O_CREAT | O_EXCL, 0666), 0);
    EXPECT_EQ(source_text("runs/notes"), "hello");
    EXPECT_EQ(source_stat("runs/notes").st_mode & 07777U, 0644U);
    EXPECT_EQ(source_stat("runs").st_mode & 07777U, 0700U);
    EXPECT_EQ(program_.read("runs/notes").value, "hello");
    EXPECT_EQ(program_.stat("runs/notes").value.mode, 0644U);
    EXPECT_EQ(program_.stat("runs/notes").value.size, 5U);
    EXPECT_EQ(program_.write("runs/notes", "again", O_WRONLY | O_CREAT | O_EXCL), EEXIST);
    EXPECT_EQ(program_.mkdir("runs"), EEXIST);
    EXPECT_EQ(program_.write("runs/notes", " world", O_WRONLY | O_APPEND), 0);
    EXPECT_EQ(source_text("runs/notes"), "hello world");
    EXPECT_EQ(program_.write("runs/notes", "J", O_RDWR), 0);
    EXPECT_EQ(program_.read("runs/notes").value, "Jello world");
    EXPECT_EQ(program_.write("runs/notes", "x"), 0);
    EXPECT_EQ(source_text("runs/notes"), "x");
    EXPECT_EQ(program_.truncate("runs/notes", 3), 0);
    EXPECT_EQ(source_text("runs/notes"), std::string("x\0\0", 3));
    EXPECT_EQ(program_.unlink("runs/notes"), 0);
    EXPECT_EQ(program_.unlink("runs/notes"), ENOENT);
    EXPECT_EQ(program_.rmdir("runs"), 0);
    EXPECT_THAT(in_source(), IsEmpty());
}

}  // namespace
}  // namespace writable_files
