from lorary.assembly import folder_files, saved_model
from lorary.cli import filled_library


def test_the_names_in_a_built_model_are_those_of_the_room_that_writes_it():
    assert filled_library.MODEL_FILE == saved_model.MODEL_FILE
    assert filled_library.EXPERTS == folder_files.EXPERTS
